//! Layers that are small and become large: they are merged in bounded memory, or refused.

mod support;

use builder::flatten::Layer;
use builder::tarball::Kind;
use std::fs;
use std::io::{self, Read, Write};
use support::{entry, layer, merged, tar};

const GIB: u64 = 1 << 30;

/// The most memory that this process has had, in bytes (proc_pid_status(5)).
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A layer of `size` zeros, the first `entry` of them its header.
fn zeros(header: &[u8], size: u64) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(header).unwrap();
    io::copy(&mut io::repeat(0).take(size), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// The header of a file, by GNU tar's rules for sizes beyond eight gibibytes if need be.
fn header(size: u64) -> Vec<u8> {
    let mut header = ::tar::Header::new_gnu();
    header.set_path("file").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn a_layer_that_unpacks_to_ten_thousand_times_its_size_takes_no_memory() {
    let before = peak();
    for (what, bomb) in [("a file", zeros(&header(GIB), GIB)), ("behind the end", zeros(&[0; 1024], GIB))] {
        assert!(bomb.len() < 200_000, "{}", bomb.len());
        let merged = merged(&[Layer { diff_id: None, ..layer("bomb", bomb) }]).unwrap();
        assert!(merged.tree.len() <= 2);
        let grown = peak() - before;
        println!("{what}: {} MiB of memory more", grown >> 20);
        assert!(grown < 64 << 20, "{what}: {grown} bytes");
    }
}

#[test]
fn a_window_that_would_fill_the_memory_is_refused() {
    // A frame's header (RFC 8878, 3.1.1.1): no content size, a window of 2^41 bytes; then an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3, 0x01, 0x00, 0x00];
    let told = merged(&[Layer { diff_id: None, ..layer("bomb", frame.to_vec()) }]).unwrap_err();
    assert!(told.starts_with("layer bomb: ") && told.contains("memory"), "{told}");
}

/// A layer that is the header of a sparse file without data, of this real size.
fn hole(size: u64) -> Layer {
    let mut header = ::tar::Header::new_gnu();
    header.set_path("hole").unwrap();
    header.set_entry_type(::tar::EntryType::GNUSparse);
    header.set_size(0);
    // Twelve bytes, binary with the highest bit set.
    let gnu = header.as_gnu_mut().unwrap();
    gnu.realsize[0] = 0x80;
    gnu.realsize[4..].copy_from_slice(&size.to_be_bytes());
    header.set_cksum();
    layer("hole", header.as_bytes().to_vec())
}

#[test]
fn a_sparse_file_costs_what_its_blocks_cost_and_none_is_larger_than_a_machine() {
    let before = peak();
    assert_eq!(merged(&[hole(100 * GIB)]).unwrap().tree.len(), 2);
    assert!(peak() - before < 64 << 20);
    let told = merged(&[hole(1 << 62)]).unwrap_err();
    assert_eq!(told, "layer hole, entry hole: its files hold more than 1 TiB together: is it damaged?");
}

#[test]
fn layers_without_end_of_links_and_names_are_refused_by_what_linux_holds() {
    let told =
        |path: &str| merged(&[layer("x", tar(&[(entry(path, Kind::Directory, 0o755), Vec::new())]))]).unwrap_err();
    assert!(told(&"d/".repeat(2048)).ends_with("the path has more than 4095 bytes"));
    let name = "n".repeat(256);
    assert_eq!(told(&name), format!("layer x, entry {name}: a name of more than 255 bytes"));
}
