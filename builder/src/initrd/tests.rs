use super::*;
use initramfs::guid::ESP_TYPE;
use std::io::Read;
use std::process::{Command, Stdio};

fn sample(packing: Packing) -> Vec<u8> {
    let mut modules = Selection { late: true, ..Selection::default() };
    modules.files.insert("kernel/a.ko".to_owned(), b"module".to_vec());
    let machine = Image::new(vec!["/app".to_owned()], ESP_TYPE);
    let system = pack_system(b"#!", "6.12", &modules, packing).unwrap();
    [system, pack_configuration(&machine, packing).unwrap()].concat()
}

/// What cpio itself says is in it: mode and name.
fn listing(packing: Packing) -> Vec<(String, String)> {
    let packed = sample(packing);
    let mut plain = Vec::new();
    match packing {
        Packing::Zstd => zstd::Decoder::new(&packed[..]).unwrap().read_to_end(&mut plain).unwrap(),
        Packing::Gzip => flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap(),
    };
    // cpio itself stops where the first archive ends.
    let end = plain.windows(10).position(|name| name == b"TRAILER!!!").unwrap() + 10;
    let second = end + plain[end..].windows(6).position(|magic| magic == b"070701").unwrap();
    let (first, second) = (list(&plain[..second]), list(&plain[second..]));
    let listing = first + &second;
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
fn the_initramfs_holds_init_its_configuration_the_console_and_modules() {
    let expected = [
        ("crw-------", "dev/console"),
        ("-rwxr-xr-x", "init"),
        ("lrwxrwxrwx", "/init"),
        ("-rw-r--r--", "lib/modules/6.12/kernel/a.ko"),
        ("-rw-------", "etc/nanoos/image.json"),
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
    let refusal = pack_configuration(&machine, Packing::Zstd).unwrap_err();
    assert_eq!(format!("{refusal:#}"), "write the machine's configuration: argv names no program");
}
