//! A program for 32-bit x86, made by hand: it ends with status 32.

/// `mov eax, 1` (exit of the 32-bit table), `mov ebx, 32`, `int 0x80`.
const CODE: &[u8] = b"\xb8\x01\x00\x00\x00\xbb\x20\x00\x00\x00\xcd\x80";
const ADDRESS: u32 = 0x0804_8000;
/// Sizes of the file header and of one program header (elf(5)).
const HEADER: u16 = 52;
const PROGRAM_HEADER: u16 = 32;
/// The status that it ends with.
pub(super) const STATUS: i32 = 32;

/// The file's bytes.
pub(super) fn program() -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let start = u32::from(HEADER + PROGRAM_HEADER);
    let size = start + CODE.len() as u32;
    // ET_EXEC, EM_386.
    [2_u16, 3].iter().for_each(|word| file.extend(word.to_le_bytes()));
    // Version, entry, program headers, section headers, flags.
    [1, ADDRESS + start, u32::from(HEADER), 0, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    [HEADER, PROGRAM_HEADER, 1, 0, 0, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    // PT_LOAD, offset, virtual and physical address, sizes in file and memory, readable and executable, alignment.
    [1, 0, ADDRESS, ADDRESS, size, size, 5, 0x1000].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(CODE);
    file
}
