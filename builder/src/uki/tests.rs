//! Stubs made by the object crate's writer; what we add is read back by it, and by objdump.

use super::*;
use crate::platform::ARCHES;
use object::pe;
use object::read::{Object, ObjectSection};
use object::write::pe::{NtHeaders, Writer};
use std::io::Write;
use std::process::Command;

/// Alignment of sections in the file, and so room for a dozen headers.
const FILE_ALIGNMENT: u32 = 1024;

/// What differs between the stubs of the tests.
struct Stub {
    machine: u16,
    alignment: u32,
    /// Sections' headers that there is room for; one is taken.
    headers: u16,
    signed: bool,
}

impl Default for Stub {
    fn default() -> Self {
        Stub { machine: ARCHES[0].pe_machine, alignment: 4096, headers: 8, signed: false }
    }
}

fn stub(stub: &Stub) -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut writer = Writer::new(true, stub.alignment, FILE_ALIGNMENT, &mut buffer);
    writer.reserve_dos_header_and_stub();
    writer.reserve_nt_headers(16);
    writer.reserve_section_headers(1);
    let text = writer.reserve_text_section(700);
    if stub.signed {
        writer.reserve_certificate_table(8);
    }
    writer.write_dos_header_and_stub().unwrap();
    writer.write_nt_headers(NtHeaders {
        machine: pe::Machine(stub.machine),
        time_date_stamp: 0,
        characteristics: pe::IMAGE_FILE_EXECUTABLE_IMAGE,
        major_linker_version: 0,
        minor_linker_version: 0,
        address_of_entry_point: text.virtual_address,
        image_base: 0,
        major_operating_system_version: 0,
        minor_operating_system_version: 0,
        major_image_version: 0,
        minor_image_version: 0,
        major_subsystem_version: 0,
        minor_subsystem_version: 0,
        subsystem: pe::IMAGE_SUBSYSTEM_EFI_APPLICATION,
        dll_characteristics: pe::DllFlags(0),
        size_of_stack_reserve: 0,
        size_of_stack_commit: 0,
        size_of_heap_reserve: 0,
        size_of_heap_commit: 0,
    });
    writer.write_section_headers();
    writer.write_section(text.file_offset, &[0xCC; 700]);
    if stub.signed {
        writer.write_certificate_table(&[0; 8]);
    }
    // Fewer headers than the writer leaves room for: say that the headers end earlier.
    let nt = u32::from_le_bytes(buffer[0x3C..0x40].try_into().unwrap()) as usize;
    let end = nt + 4 + 20 + 240 + 40 * usize::from(stub.headers);
    let limit = (end as u32).min(text.file_offset);
    buffer[nt + 24 + 60..nt + 24 + 64].copy_from_slice(&limit.to_le_bytes());
    buffer
}

const SECTIONS: [Section<'static>; 4] = [
    Section { name: ".osrel", content: b"ID=nanoos\n" },
    Section { name: ".cmdline", content: b"quiet" },
    Section { name: ".initrd", content: &[0x28; 5000] },
    Section { name: ".linux", content: &[0x4D; 70_000] },
];

#[test]
fn added_sections_are_read_back_whole_and_in_order() {
    for alignment in [FILE_ALIGNMENT, 4096] {
        let image = add_sections(&stub(&Stub { alignment, ..Stub::default() }), &SECTIONS, &ARCHES[0]).unwrap();
        let file = PeFile64::parse(&image[..]).unwrap();
        let sections: Vec<_> = file.sections().collect();
        assert_eq!(sections.len(), 5);
        assert_eq!(sections[0].data().unwrap()[..700], [0xCC; 700]);
        for (added, wanted) in sections[1..].iter().zip(&SECTIONS) {
            assert_eq!(added.name(), Ok(wanted.name));
            assert_eq!(added.size(), wanted.content.len() as u64);
            assert_eq!(&added.data().unwrap()[..wanted.content.len()], wanted.content);
        }
        for pair in sections.windows(2) {
            assert!(pair[0].address() + pair[0].size() <= pair[1].address(), "sections overlap");
            assert_eq!(pair[1].address() % u64::from(alignment), 0);
        }
        let optional = file.nt_headers().optional_header();
        let last = sections[4].address() + sections[4].size();
        assert_eq!(u64::from(optional.size_of_image()), last.next_multiple_of(u64::from(alignment)));
        assert_eq!((optional.check_sum.get(LE), image.len() % FILE_ALIGNMENT as usize), (0, 0));
    }
}

#[test]
fn objdump_sees_the_same_sections() {
    let image = add_sections(&stub(&Stub::default()), &SECTIONS, &ARCHES[0]).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&image).unwrap();
    let output = Command::new("objdump").arg("-h").arg(file.path()).output();
    let output = output.expect("objdump is missing: apt-get install binutils");
    let listing = String::from_utf8_lossy(&output.stdout);
    for section in &SECTIONS {
        let line = listing.lines().find(|line| line.contains(section.name)).unwrap_or_else(|| panic!("{listing}"));
        assert!(line.contains(&format!("{:08x}", section.content.len())), "{line}");
    }
}

#[test]
fn stubs_that_cannot_be_used_are_refused_by_what_is_wrong() {
    let refused = |bytes: &[u8]| add_sections(bytes, &SECTIONS, &ARCHES[0]).unwrap_err().to_string();
    assert!(refused(b"\x7fELF").starts_with("the EFI stub is not a PE file: "));
    assert!(refused(&stub(&Stub::default())[..300]).starts_with("the EFI stub is not a PE file: "));
    assert_eq!(
        refused(&stub(&Stub { machine: 0xAA64, ..Stub::default() })),
        "the EFI stub is for machine 0xaa64, and x86_64 is 0x8664"
    );
    assert!(refused(&stub(&Stub { signed: true, ..Stub::default() })).starts_with("the EFI stub is signed"));
    assert_eq!(
        refused(&stub(&Stub { headers: 3, ..Stub::default() })),
        "the EFI stub's header has room for 2 more sections, and 4 are needed: take another stub"
    );
    let image = add_sections(&stub(&Stub::default()), &SECTIONS[..2], &ARCHES[0]).unwrap();
    assert!(refused(&image).starts_with("the EFI stub has a section .osrel already"));
}

proptest::proptest! {
    #[test]
    fn no_damage_to_a_stub_makes_it_panic(at in 0usize..FILE_ALIGNMENT as usize, byte: u8, cut in 0usize..2000) {
        let mut bytes = stub(&Stub::default());
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        let _ = add_sections(&bytes, &SECTIONS, &ARCHES[0]);
    }
}
