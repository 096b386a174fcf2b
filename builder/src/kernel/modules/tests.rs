use super::*;
use std::fs;
use std::path::PathBuf;

const ELF: &[u8] = b"\x7fELF module";

fn without_modules() -> Kernel {
    let (directory, vmlinuz) = (PathBuf::new(), PathBuf::new());
    Kernel { directory, release: "1".to_owned(), vmlinuz, stub: None, config: None, modules: None }
}

/// A kernel whose modules are these, with the indexes that depmod would write.
fn kernel(directory: &Path, modules: &[(&str, Vec<u8>)], dep: &str) -> Kernel {
    let base = directory.join("lib/modules/1");
    fs::create_dir_all(&base).unwrap();
    for (path, content) in modules {
        let path = base.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::write(base.join("modules.dep"), dep).unwrap();
    fs::write(base.join("modules.alias"), "alias pci:v1 nvme\nalias pci:v2 radeon\n").unwrap();
    fs::write(base.join("modules.softdep"), "softdep nvme post: helper-x\nsoftdep radeon pre: nvme\n").unwrap();
    fs::write(base.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
    Kernel { modules: Some(base), ..without_modules() }
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    liblzma::read::XzEncoder::new(bytes, 6).read_to_end(&mut compressed).unwrap();
    compressed
}

#[test]
fn needed_modules_come_with_what_they_depend_on_decompressed() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(
        dir.path(),
        &[
            ("kernel/drivers/nvme/host/nvme.ko.xz", xz(ELF)),
            ("kernel/drivers/nvme/host/nvme-core.ko.zst", zstd::encode_all(ELF, 3).unwrap()),
            ("kernel/lib/helper_x.ko", ELF.to_vec()),
            ("kernel/drivers/gpu/drm/radeon/radeon.ko", ELF.to_vec()),
        ],
        "kernel/drivers/nvme/host/nvme.ko.xz: kernel/drivers/nvme/host/nvme-core.ko.zst\n\
         kernel/drivers/nvme/host/nvme-core.ko.zst:\nkernel/lib/helper_x.ko:\nkernel/drivers/gpu/drm/radeon/radeon.ko:\n",
    );
    let selection = select(&kernel, false).unwrap();
    let names: Vec<&str> = selection.files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "kernel/drivers/nvme/host/nvme-core.ko",
            "kernel/drivers/nvme/host/nvme.ko",
            "kernel/lib/helper_x.ko",
            "modules.alias",
            "modules.builtin",
            "modules.dep",
            "modules.softdep",
        ]
    );
    assert_eq!(selection.modules, 3);
    assert_eq!(selection.files["kernel/drivers/nvme/host/nvme.ko"], ELF);
    let text = |name: &str| String::from_utf8(selection.files[name].clone()).unwrap();
    assert_eq!(
        text("modules.dep"),
        "kernel/drivers/nvme/host/nvme-core.ko:\nkernel/drivers/nvme/host/nvme.ko: kernel/drivers/nvme/host/nvme-core.ko\n\
         kernel/lib/helper_x.ko:\n"
    );
    assert_eq!(text("modules.alias"), "alias pci:v1 nvme\n");
    assert_eq!(text("modules.softdep"), "softdep nvme post: helper-x\n");
}

#[test]
fn all_modules_come_along_where_they_may_be_loaded_late_compressed_if_the_kernel_reads_them_so() {
    let dir = tempfile::tempdir().unwrap();
    let radeon = "kernel/drivers/gpu/drm/radeon/radeon.ko";
    let modules = [("kernel/drivers/nvme/host/nvme.ko.xz", xz(ELF)), (radeon, ELF.to_vec())];
    let dep = format!("kernel/drivers/nvme/host/nvme.ko.xz:\n{radeon}: kernel/drivers/nvme/host/nvme.ko.xz\n");
    let mut kernel = kernel(dir.path(), &modules, &dep);
    let plain = select(&kernel, true).unwrap();
    assert_eq!(plain.files[radeon], ELF);

    let config = dir.path().join("config");
    fs::write(&config, "CONFIG_MODULE_DECOMPRESS=y\nCONFIG_MODULE_COMPRESS_ZSTD=y\n").unwrap();
    kernel.config = Some(config);
    let packed = select(&kernel, true).unwrap();
    assert_eq!(packed.files["kernel/drivers/nvme/host/nvme.ko"], ELF);
    assert_eq!(zstd::decode_all(&packed.files[&format!("{radeon}.zst")][..]).unwrap(), ELF);
    let dep = format!("{radeon}.zst: kernel/drivers/nvme/host/nvme.ko\nkernel/drivers/nvme/host/nvme.ko:\n");
    assert_eq!(String::from_utf8_lossy(&packed.files["modules.dep"]), dep);
    assert!(String::from_utf8_lossy(&packed.files["modules.alias"]).contains("radeon"));
}

#[test]
fn a_kernel_without_indexes_says_which_command_makes_them() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path(), &[], "");
    fs::remove_file(dir.path().join("lib/modules/1/modules.dep")).unwrap();
    let refusal = format!("{:#}", select(&kernel, false).unwrap_err());
    assert!(refusal.contains(&format!("(if it is missing: depmod -b {} 1)", dir.path().display())), "{refusal}");
}

#[test]
fn a_module_that_is_none_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let nvme = "kernel/drivers/nvme/host/nvme.ko";
    let kernel = kernel(dir.path(), &[(nvme, b"garbage".to_vec())], &format!("{nvme}:\n"));
    let refusal = format!("{:#}", select(&kernel, false).unwrap_err());
    assert_eq!(refusal, format!("read module {nvme}: it is not an ELF file"));
}

#[test]
fn a_kernel_without_modules_needs_none() {
    let kernel = without_modules();
    assert_eq!(select(&kernel, false).unwrap(), Selection::default());
}
