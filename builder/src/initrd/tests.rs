use super::*;
use initramfs::guid::ESP_TYPE;
use std::io::Read;
use std::process::{Command, Stdio};

fn sample(packing: Packing) -> Vec<u8> {
    let mut modules = Selection { late: true, ..Selection::default() };
    modules.files.insert("kernel/a.ko".to_owned(), b"module".to_vec());
    let machine = Image::new(vec!["/app".to_owned()], ESP_TYPE);
    let system = pack_system(b"#!", "6.12", &modules, packing).unwrap();
    [pack_configuration(&machine).unwrap(), system].concat()
}

/// What cpio itself says is in it: mode and name.
fn listing(packing: Packing) -> Vec<(String, String)> {
    let packed = sample(packing);
    assert_eq!(sample(packing).len(), packed.len());
    let (configuration, system) = packed.split_at(CONFIGURATION_STEP);
    let mut plain = Vec::new();
    match packing {
        Packing::Zstd => zstd::Decoder::new(system).unwrap().read_to_end(&mut plain).unwrap(),
        Packing::Gzip => flate2::read::MultiGzDecoder::new(system).read_to_end(&mut plain).unwrap(),
    };
    let listing = list(configuration) + &list(&plain);
    let word = |line: &str, at: usize| line.split_whitespace().nth(at).unwrap().to_owned();
    let files = listing.lines().filter(|line| !line.starts_with('d'));
    files.map(|line| (word(line, 0), line.split_whitespace().last().unwrap().to_owned())).collect()
}

fn list(archive: &[u8]) -> String {
    let mut cpio = Command::new("cpio")
        .args(["--list", "--verbose", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cpio is missing: apt-get install cpio");
    cpio.stdin.take().unwrap().write_all(archive).unwrap();
    String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn the_initramfs_holds_init_its_configuration_the_first_devices_and_modules() {
    let expected = [
        ("-rw-------", "etc/nanoos/image.json"),
        ("crw-------", "dev/console"),
        ("crw-rw-rw-", "dev/null"),
        ("-rwxr-xr-x", "init"),
        ("lrwxrwxrwx", "/init"),
        ("-rw-r--r--", "lib/modules/6.12/kernel/a.ko"),
    ];
    for packing in [Packing::Zstd, Packing::Gzip] {
        let listing = listing(packing);
        let listing: Vec<(&str, &str)> = listing.iter().map(|(mode, name)| (mode.as_str(), name.as_str())).collect();
        assert_eq!(listing, expected, "{packing:?}");
    }
}

#[test]
fn the_same_parts_give_the_same_bytes() {
    assert_eq!(sample(Packing::Zstd), sample(Packing::Zstd));
    assert_eq!(sample(Packing::Gzip), sample(Packing::Gzip));
}

#[test]
fn a_configuration_that_init_would_refuse_is_refused_here() {
    let machine = Image::new(Vec::new(), ESP_TYPE);
    let refusal = pack_configuration(&machine).unwrap_err();
    assert_eq!(format!("{refusal:#}"), "write the machine's configuration: argv names no program");
}

#[test]
fn the_configuration_is_as_long_whichever_root_it_names() {
    let machine = |root| Image::new(vec!["/app".to_owned()], root);
    let packed = |root| pack_configuration(&machine(root)).unwrap();
    let other = initramfs::guid::Guid::from_digest(&[7; 32]);
    assert_eq!(packed(ESP_TYPE).len(), packed(other).len());
    assert_ne!(packed(ESP_TYPE), packed(other));
}

#[test]
fn what_is_the_same_for_every_image_is_packed_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let system = |init: &[u8]| system(init, "6.12", &Selection::default(), Packing::Zstd, &cache).unwrap();
    let first = system(b"#!");
    let folder = dir.path().join("initramfs");
    let entry = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read(&entry).unwrap();
    assert!(kept.ends_with(&first));
    // One that was damaged is made anew, and another init is another archive.
    std::fs::write(&entry, &kept[..kept.len() - 1]).unwrap();
    assert_eq!(system(b"#!"), first);
    assert_eq!(std::fs::read(&entry).unwrap(), kept);
    assert_ne!(system(b"#!x"), first);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
}
