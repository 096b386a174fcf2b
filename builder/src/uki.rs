//! Makes a unified kernel image: the EFI stub with kernel, initramfs and command line as further sections of the one PE
//! file (UAPI specification "Unified Kernel Image"; PE format: learn.microsoft.com, "PE Format").

use crate::platform::Arch;
use object::LittleEndian as LE;
use object::pe::{IMAGE_DIRECTORY_ENTRY_SECURITY, ImageNtHeaders64, ImageSectionHeader};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile64};
use std::mem::size_of;

/// Section flags: initialized data, readable (PE format, "Section Flags").
const READABLE_DATA: u32 = 0x4000_0040;
/// Offset of the checksum in the optional header (PE format, "Optional Header Windows-Specific Fields").
const CHECKSUM_OFFSET: usize = 64;
/// Offset of SizeOfInitializedData in the optional header.
const INITIALIZED_OFFSET: usize = 8;
/// Offset of SizeOfImage in the optional header.
const IMAGE_SIZE_OFFSET: usize = 56;

/// Why no image can be made.
#[derive(Debug, thiserror::Error)]
pub enum UkiError {
    /// The stub is no PE file.
    #[error("the EFI stub is not a PE file: {0}")]
    NotPe(#[from] object::Error),
    /// The stub is for other machines.
    #[error("the EFI stub is for machine {found:#06x}, and {arch} is {wanted:#06x}")]
    Machine {
        /// What the stub says.
        found: u16,
        /// The architecture.
        arch: &'static str,
        /// What that is in PE's terms.
        wanted: u16,
    },
    /// The stub already is an image, or something else altogether.
    #[error("the EFI stub has a section {0} already: take a bare stub, such as systemd's linuxx64.efi.stub")]
    Taken(String),
    /// The stub is signed, and the signature would not hold.
    #[error("the EFI stub is signed, and sections can't be added without breaking the signature: take an unsigned one")]
    Signed,
    /// No room for more sections' headers.
    #[error("the EFI stub's header has room for {room} more sections, and {wanted} are needed: take another stub")]
    NoRoom {
        /// Headers that fit.
        room: usize,
        /// Headers that are needed.
        wanted: usize,
    },
    /// A number of the header that can't be.
    #[error("the EFI stub's header is broken: {0}")]
    Broken(&'static str),
    /// Beyond 4 GiB.
    #[error("the kernel image would be larger than a PE file can be (4 GiB)")]
    TooLarge,
}

/// A section to add.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// Its name, eight bytes at most.
    pub name: &'static str,
    /// Its bytes.
    pub content: &'a [u8],
}

/// What a boot menu or an inspecting tool reads about the image (os-release(5)).
#[must_use]
pub fn os_release(kernel: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("ID=nanoos\nNAME=\"NanoOS\"\nVERSION_ID={version}\nPRETTY_NAME=\"NanoOS {version} (Linux {kernel})\"\n")
}

/// Adds sections to a stub, behind everything it has.
///
/// # Errors
/// [`UkiError`] when the stub is none, or has no room.
pub fn add_sections(stub: &[u8], sections: &[Section<'_>], arch: &'static Arch) -> Result<Vec<u8>, UkiError> {
    let layout = Layout::read(stub, sections, arch)?;
    let mut image = stub.to_vec();
    let mut address = layout.end_address;
    let mut headers = Vec::new();
    for section in sections {
        let size = u32::try_from(section.content.len()).map_err(|_| UkiError::TooLarge)?;
        pad(&mut image, layout.file_alignment)?;
        let offset = u32::try_from(image.len()).map_err(|_| UkiError::TooLarge)?;
        image.extend_from_slice(section.content);
        pad(&mut image, layout.file_alignment)?;
        let stored = u32::try_from(image.len()).map_err(|_| UkiError::TooLarge)? - offset;
        headers.extend_from_slice(&header(section.name, size, address, stored, offset));
        address = align(address.checked_add(size).ok_or(UkiError::TooLarge)?, layout.section_alignment)?;
    }
    let added = u32::try_from(image.len() - stub.len()).map_err(|_| UkiError::TooLarge)?;
    // All of these lie inside the stub: Layout::read has seen them there.
    image[layout.table_end..layout.table_end + headers.len()].copy_from_slice(&headers);
    let count = layout.sections + sections.len() as u16; // Layout::read has found room for them in one header
    image[layout.file_header + 2..layout.file_header + 4].copy_from_slice(&count.to_le_bytes());
    let mut field = |offset: usize, value: u32| {
        image[layout.optional_header + offset..][..4].copy_from_slice(&value.to_le_bytes());
    };
    field(IMAGE_SIZE_OFFSET, address);
    field(INITIALIZED_OFFSET, layout.initialized.saturating_add(added));
    // Firmware checks no checksum of applications; zero says that there is none.
    field(CHECKSUM_OFFSET, 0);
    Ok(image)
}

/// Where things lie in a stub.
struct Layout {
    file_header: usize,
    optional_header: usize,
    /// End of the section headers, where more can go.
    table_end: usize,
    sections: u16,
    section_alignment: u32,
    file_alignment: u32,
    initialized: u32,
    /// First address behind all sections.
    end_address: u32,
}

impl Layout {
    fn read(stub: &[u8], added: &[Section<'_>], arch: &'static Arch) -> Result<Self, UkiError> {
        let file = PeFile64::parse(stub)?;
        let nt: &ImageNtHeaders64 = file.nt_headers();
        let found = nt.file_header.machine.get(LE).0;
        if found != arch.pe_machine {
            return Err(UkiError::Machine { found, arch: arch.name, wanted: arch.pe_machine });
        }
        if file.data_directory(IMAGE_DIRECTORY_ENTRY_SECURITY).is_some_and(|table| table.size.get(LE) != 0) {
            return Err(UkiError::Signed);
        }
        let optional = nt.optional_header();
        let (section_alignment, file_alignment) = (optional.section_alignment(), optional.file_alignment());
        if !section_alignment.is_power_of_two() || !file_alignment.is_power_of_two() {
            return Err(UkiError::Broken("its alignments are no powers of two"));
        }
        let file_header = file.dos_header().nt_headers_offset() as usize + 4; // after the signature
        let optional_header = file_header + size_of::<object::pe::ImageFileHeader>();
        let table = optional_header + usize::from(nt.file_header.size_of_optional_header.get(LE));
        let headers: Vec<&ImageSectionHeader> = file.section_table().iter().collect();
        let table_end = table + size_of_val_of(&headers);
        // Headers may grow up to where they are said to end, and to where the first section's data begin.
        let data = headers.iter().filter(|header| header.size_of_raw_data.get(LE) > 0);
        let first_data = data.map(|header| header.pointer_to_raw_data.get(LE)).min().unwrap_or(u32::MAX);
        let limit = first_data.min(optional.size_of_headers()) as usize;
        let room = limit.min(stub.len()).saturating_sub(table_end) / size_of::<ImageSectionHeader>();
        if room < added.len() {
            return Err(UkiError::NoRoom { room, wanted: added.len() });
        }
        let mut end_address = optional.size_of_headers();
        for header in &headers {
            let name = String::from_utf8_lossy(header.raw_name()).into_owned();
            if added.iter().any(|section| section.name == name) {
                return Err(UkiError::Taken(name));
            }
            let size = header.virtual_size.get(LE).max(header.size_of_raw_data.get(LE));
            let end = header.virtual_address.get(LE).checked_add(size);
            end_address = end_address.max(end.ok_or(UkiError::Broken("a section ends beyond 4 GiB"))?);
        }
        Ok(Layout {
            file_header,
            optional_header,
            table_end,
            sections: nt.file_header.number_of_sections.get(LE),
            section_alignment,
            file_alignment,
            initialized: optional.size_of_initialized_data(),
            end_address: align(end_address, section_alignment)?,
        })
    }
}

fn size_of_val_of(headers: &[&ImageSectionHeader]) -> usize {
    headers.len() * size_of::<ImageSectionHeader>()
}

/// A section header (PE format, "Section Table"): name, sizes, places, flags.
fn header(name: &str, size: u32, address: u32, stored: u32, offset: u32) -> [u8; 40] {
    let mut header = [0; 40];
    let name = &name.as_bytes()[..name.len().min(8)];
    header[..name.len()].copy_from_slice(name);
    for (at, value) in [(8, size), (12, address), (16, stored), (20, offset), (36, READABLE_DATA)] {
        header[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    header
}

fn align(address: u32, alignment: u32) -> Result<u32, UkiError> {
    address.checked_next_multiple_of(alignment).ok_or(UkiError::TooLarge)
}

fn pad(image: &mut Vec<u8>, alignment: u32) -> Result<(), UkiError> {
    let length = u32::try_from(image.len()).map_err(|_| UkiError::TooLarge)?;
    image.resize(align(length, alignment)? as usize, 0);
    Ok(())
}

#[cfg(test)]
mod tests;
