//! Memory that an archive takes: a process of its own, as the peak is one of the whole process.

use project::payload::recognize;
use rawzip::ZipArchiveWriter;
use std::fs;
use std::io::Cursor;

#[test]
fn a_million_entries_take_little_memory() {
    let name = "x".repeat(100);
    let mut bytes = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for number in 0..1_000_001 {
        let name = format!("META-INF/{name}{number}");
        let (mut entry, config) = archive.new_file(&name).start().unwrap();
        let (_, descriptor) = config.wrap(&mut entry).finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    // The peak so far is of making the archive: begin anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = resident();
    let error = recognize("./app.jar", &mut Cursor::new(&bytes)).unwrap_err().to_string();
    let expected = "./app.jar: the zip archive has more than 1000000 entries: leave out what the program does not need";
    assert_eq!(error, expected);
    let more = resident().saturating_sub(before);
    assert!(more < 16 << 20, "{} MiB more", more >> 20);
}

/// Bytes of memory of this process, at most so far.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
