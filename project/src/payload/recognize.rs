//! What a file is, by its bytes.

use super::{Error, class, jar, zip};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes at a file's beginning that are looked at: up to a partition table behind a sector of 4096 bytes.
const BEGINNING: u64 = 4096 + 8;

/// Bytes of a sector, of a tar archive's header, and of a VHD's footer.
const SECTOR: usize = 512;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A directory: a project.
    Directory,
    /// A disk that is booted as it is.
    Disk(Disk),
    /// A program for Linux.
    Program,
    /// A Java archive that is not a war.
    Jar,
    /// A Java archive with WEB-INF/.
    War,
    /// A tar archive that holds a project.
    Archive(Packing),
}

/// Formats of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Sectors with a GPT.
    Raw,
    /// QEMU's.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// Hyper-V's and Azure's older one.
    Vhd,
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

/// Beginnings of what a machine is not made of, what it is, and what to do.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (b"\xca\xfe\xba\xbe", "a program for macOS", COMPILE),
    (b"\xcf\xfa\xed\xfe", "a program for macOS", COMPILE),
    (b"\xce\xfa\xed\xfe", "a program for macOS", COMPILE),
    (b"MZ", "a program for Windows or UEFI", COMPILE),
    (b"\0asm", "a WebAssembly module", COMPILE),
    (b"\xfd7zXZ\0", "compressed by xz", REPACK),
    (b"BZh", "compressed by bzip2", REPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", REPACK),
    (b"Rar!\x1a\x07", "a rar archive", REPACK),
    (b"!<arch>\n", "a Debian package or a static library", NAME_DIRECTORY),
    (b"\xed\xab\xee\xdb", "an rpm package", NAME_DIRECTORY),
    (b"vhdxfile", "a VHDX disk", "convert it to vhd, qcow2 or raw with qemu-img"),
    (b"hsqs", "a squashfs file system", NAME_DIRECTORY),
    (b"%PDF", "a PDF document", NAME_DIRECTORY),
    (b"\x89PNG", "a picture", NAME_DIRECTORY),
];

const COMPILE: &str = "compile it for Linux";
const REPACK: &str = "pack it again as .tar.gz, or unpack it and name the directory";
const NAME_DIRECTORY: &str = "name the directory of the project in its place";

/// What a path is.
///
/// # Errors
/// When it cannot be read, or is nothing that a machine is made of.
pub fn sniff(path: &Path) -> Result<Payload, Error> {
    let shown = path.display().to_string();
    let read = |source| Error::Read { path: shown.clone(), source };
    if path.metadata().map_err(read)?.is_dir() {
        return Ok(Payload::Directory);
    }
    recognize(&shown, &mut File::open(path).map_err(read)?)
}

/// What a file is, by its bytes. `path` is for people.
///
/// # Errors
/// When it cannot be read, or is nothing that a machine is made of.
pub fn recognize(path: &str, file: &mut (impl Read + Seek)) -> Result<Payload, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let start = beginning(file).map_err(read)?;
    let unknown = |what: &str, advice| Error::Unknown { path: path.to_owned(), what: what.to_owned(), advice };
    if let Some(disk) = disk(&start, file).map_err(read)? {
        return Ok(Payload::Disk(disk));
    }
    if start.starts_with(b"\x7fELF") {
        return Ok(Payload::Program);
    }
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return java(path, file);
    }
    if is_tar(&start) {
        return Ok(Payload::Archive(Packing::Plain));
    }
    if start.starts_with(b"\x1f\x8b") {
        file.rewind().map_err(read)?;
        let mut unpacked = Vec::new();
        // What is damaged further on is the unpacker's to say.
        let _ = flate2::read::GzDecoder::new(file).take(SECTOR as u64).read_to_end(&mut unpacked);
        return if is_tar(&unpacked) {
            Ok(Payload::Archive(Packing::Gzip))
        } else {
            Err(unknown("compressed by gzip, but no tar archive", "unpack it, or pack the directory of the project"))
        };
    }
    if start.starts_with(b"\x28\xb5\x2f\xfd") {
        return Ok(Payload::Archive(Packing::Zstd));
    }
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let interpreter = String::from_utf8_lossy(line.get(..line.len().min(80)).unwrap_or_default());
        let what = format!("a script for {}", interpreter.trim());
        let advice =
            "it does not say what has to be there to run it; name its directory, with a Procfile that starts it";
        return Err(unknown(&what, advice));
    }
    // A program for several of Apple's architectures begins in the same way; in it the number of these follows.
    if class::java(&start).is_some() {
        return Err(unknown("a class file of Java", "pack it into a jar with a Main-Class"));
    }
    if let Some((_, what, advice)) = OTHERS.iter().find(|(magic, ..)| start.starts_with(magic)) {
        return Err(unknown(what, advice));
    }
    Err(match &start[..] {
        [] => unknown("empty", "write it again"),
        bytes if bytes.get(SECTOR - 2..SECTOR) == Some(&[0x55, 0xaa]) => {
            unknown("a disk without a partition table of type GPT", "convert it with gdisk")
        }
        bytes if is_text(bytes) => unknown("a text file", NAME_DIRECTORY),
        _ => unknown("of an unknown format", NAME_DIRECTORY),
    })
}

/// A file's beginning.
fn beginning(file: &mut (impl Read + Seek)) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.rewind()?;
    file.by_ref().take(BEGINNING).read_to_end(&mut start)?;
    Ok(start)
}

/// The format of a disk.
fn disk(start: &[u8], file: &mut (impl Read + Seek)) -> io::Result<Option<Disk>> {
    // A VHD of fixed size is a raw disk with a footer.
    let mut footer = Vec::new();
    if file.seek(SeekFrom::End(0))? >= SECTOR as u64 {
        file.seek(SeekFrom::End(-(SECTOR as i64)))?;
        file.by_ref().take(8).read_to_end(&mut footer)?;
    }
    let gpt = |sector: usize| start.get(sector..).is_some_and(|rest| rest.starts_with(b"EFI PART"));
    Ok(if start.starts_with(b"conectix") || footer == b"conectix" {
        Some(Disk::Vhd)
    } else if start.starts_with(b"QFI\xfb") {
        Some(Disk::Qcow2)
    } else if start.starts_with(b"KDMV") || start.starts_with(b"# Disk DescriptorFile") {
        Some(Disk::Vmdk)
    } else {
        (gpt(SECTOR) || gpt(4096)).then_some(Disk::Raw)
    })
}

/// Whether these are the first bytes of a tar archive: the sum over the header is in it (pax(1), "ustar Interchange
/// Format"), in formats of before ustar, too.
fn is_tar(start: &[u8]) -> bool {
    let Some(header) = start.get(..SECTOR) else { return false };
    let (before, rest) = header.split_at(148);
    let (field, after) = rest.split_at(8);
    let digits: String = field.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    // The field itself counts as spaces.
    u32::from_str_radix(&digits, 8).is_ok_and(|stored| stored == sum(before) + 8 * 32 + sum(after))
}

/// Whether it can be read by people.
fn is_text(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // The end may be in the middle of a character.
        Err(error) => error.error_len().is_none(),
    };
    valid && !bytes.contains(&0)
}

/// Which of Java's archives a zip archive is.
fn java(path: &str, file: &mut (impl Read + Seek)) -> Result<Payload, Error> {
    let java = |problem: zip::Problem| Error::Java { path: path.to_owned(), problem: problem.to_string() };
    let (mut meta, mut web) = (false, false);
    let archive = zip::Zip::open(file).map_err(java)?;
    archive
        .for_each(|entry| {
            meta |= entry.name.starts_with("META-INF/");
            web |= entry.name.starts_with(jar::WEB);
        })
        .map_err(java)?;
    match (meta, web) {
        (_, true) => Ok(Payload::War),
        (true, false) => Ok(Payload::Jar),
        (false, false) => Err(Error::Unknown {
            path: path.to_owned(),
            what: "a zip archive without META-INF/, neither a jar nor a war".to_owned(),
            advice: REPACK,
        }),
    }
}
