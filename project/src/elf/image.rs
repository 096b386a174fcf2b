//! What an ELF file says of itself (ELF specification, gABI 4.1, chapters 4 and 5).

use super::Architecture;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::{Endianness, ReadCache, ReadRef};
use std::io::{Read, Seek};

/// Bytes of any table that is read: the symbols of the largest programs have some ten MiB.
const TABLE: u64 = 256 << 20;

/// Segments of a file; linkers write some ten.
const SEGMENTS: u16 = 1024;

/// Sections of a file; more than that have only object files, one for each function.
const SECTIONS: u64 = 100_000;

/// Entries of the dynamic table.
const ENTRIES: usize = 100_000;

/// Longest name of a library, or list of directories.
const NAME: usize = 64 << 10;

/// Bytes of the names of all symbols that are kept; where there are more, nothing is known of them.
const NAMES: usize = 64 << 20;

/// Names of exported symbols that are kept begin so: what makes a Node addon.
const ADDON: [&str; 2] = ["node_register_module_v", "napi_register_module_v"];

type Header = FileHeader64<Endianness>;

/// What an ELF file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What it is for.
    pub architecture: Architecture,
    /// Whether it can be started: a program, not a library.
    pub program: bool,
    /// The loader that the kernel starts in its place.
    pub interpreter: Option<String>,
    /// The libraries that it names, in their order.
    pub needed: Vec<String>,
    /// What it is called as a library.
    pub soname: Option<String>,
    /// DT_RPATH, nothing where there is a DT_RUNPATH, which then counts alone.
    pub rpath: Option<String>,
    /// DT_RUNPATH.
    pub runpath: Option<String>,
    /// Whether the default directories are not for its libraries (`-z nodefaultlib`).
    pub no_default: bool,
    /// The symbols that others have to bring, where the file still says so.
    pub imports: Option<Vec<String>>,
    /// Exported symbols that make an addon of Node.
    pub addon: Vec<String>,
    /// The newest version of glibc's symbols that it wants: (2, 34).
    pub glibc: Option<(u32, u32)>,
}

/// Why a file cannot be read as a program or library of a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No ELF file.
    #[error("it is no ELF file")]
    NotElf,
    /// For a machine that there are no images for.
    #[error("it is for {0}, and machines are x86_64 or aarch64, 64 bits each: compile it for one of these")]
    Foreign(String),
    /// Its tables contradict each other, or lead out of the file.
    #[error("it is damaged: {0}; build or copy it again")]
    Damaged(&'static str),
    /// Not linked yet, a core dump.
    #[error("it is {0}, not a program")]
    NoProgram(&'static str),
}

impl Image {
    /// Reads an ELF file's headers and tables, never its code.
    ///
    /// # Errors
    /// When it is no ELF file, is for a foreign architecture, or is damaged.
    pub fn read(file: impl Read + Seek) -> Result<Self, Unreadable> {
        let cache = ReadCache::new(file);
        let data = &cache;
        let ident = data.read_bytes_at(0, 20).map_err(|()| Unreadable::NotElf)?;
        if !ident.starts_with(&elf::ELFMAG) {
            return Err(Unreadable::NotElf);
        }
        if let Some(foreign) = foreign(ident) {
            return Err(Unreadable::Foreign(foreign));
        }
        let header = Header::parse(data).map_err(|_| Unreadable::Damaged("its header"))?;
        let endian = Endianness::Little;
        let architecture = Architecture::of_elf(header.e_machine(endian)).ok_or(Unreadable::NotElf)?;
        match header.e_type(endian) {
            elf::ET_EXEC | elf::ET_DYN => {}
            elf::ET_REL => return Err(Unreadable::NoProgram("an object file that is not linked yet")),
            elf::ET_CORE => return Err(Unreadable::NoProgram("a core dump")),
            _ => return Err(Unreadable::Damaged("its type")),
        }
        if header.e_phnum(endian) > SEGMENTS {
            return Err(Unreadable::Damaged("the number of its segments"));
        }
        let segments = header.program_headers(endian, data).map_err(|_| Unreadable::Damaged("its segments"))?;
        let interpreter = interpreter(segments, data)?;
        let dynamic = Dynamic::read(segments, data)?;
        let entry: u64 = header.e_entry(endian);
        let library = header.e_type(endian) == elf::ET_DYN && interpreter.is_none() && dynamic.is_library();
        let symbols = Symbols::read(header, data);
        Ok(Image {
            architecture,
            program: entry != 0 && !library,
            interpreter,
            needed: dynamic.needed,
            soname: dynamic.soname,
            rpath: if dynamic.runpath.is_some() { None } else { dynamic.rpath },
            runpath: dynamic.runpath,
            no_default: dynamic.no_default,
            imports: symbols.imports,
            addon: symbols.addon,
            glibc: symbols.glibc,
        })
    }

    /// Whether it asks others for one of these symbols; taken for granted where it no longer says what it asks for.
    #[must_use]
    pub fn imports_any(&self, names: &[&str]) -> bool {
        self.imports.as_ref().is_none_or(|imports| imports.iter().any(|import| names.contains(&import.as_str())))
    }
}

/// What a header that is not of a 64-bit little-endian x86 or ARM is for.
fn foreign(ident: &[u8]) -> Option<String> {
    let &[_, _, _, _, class, order, .., low, high] = ident else { return Some("an unknown machine".to_owned()) };
    if order != elf::ELFDATA2LSB.0 {
        return Some("a big-endian machine".to_owned());
    }
    let machine = elf::Machine(u16::from_le_bytes([low, high]));
    let name = match machine {
        elf::EM_386 => "i386",
        elf::EM_ARM => "32-bit arm",
        elf::EM_RISCV => "riscv",
        elf::EM_PPC64 => "ppc64le",
        elf::EM_LOONGARCH => "loongarch",
        elf::EM_X86_64 | elf::EM_AARCH64 if class == elf::ELFCLASS64.0 => return None,
        elf::EM_X86_64 => "x32, the 32-bit ABI of x86_64",
        elf::EM_AARCH64 => "the 32-bit ABI of aarch64",
        elf::Machine(number) => return Some(format!("machine {number} of the ELF specification")),
    };
    Some(name.to_owned())
}

/// The loader's path.
fn interpreter<'a>(
    segments: &[elf::ProgramHeader64<Endianness>],
    data: impl ReadRef<'a>,
) -> Result<Option<String>, Unreadable> {
    let Some(segment) = segments.iter().find(|segment| segment.p_type(Endianness::Little) == elf::PT_INTERP) else {
        return Ok(None);
    };
    if segment.p_filesz(Endianness::Little) > NAME as u64 {
        return Err(Unreadable::Damaged("its loader's name"));
    }
    let name = segment.interpreter(Endianness::Little, data).ok().flatten().and_then(text);
    name.map(Some).ok_or(Unreadable::Damaged("its loader's name"))
}

/// What PT_DYNAMIC says, as ld.so reads it: by segments, without the section headers that may be cut off.
#[derive(Default)]
struct Dynamic {
    needed: Vec<String>,
    soname: Option<String>,
    rpath: Option<String>,
    runpath: Option<String>,
    no_default: bool,
    pie: bool,
}

impl Dynamic {
    fn read<'a>(segments: &[elf::ProgramHeader64<Endianness>], data: impl ReadRef<'a>) -> Result<Self, Unreadable> {
        const E: Endianness = Endianness::Little;
        let damaged = |_| Unreadable::Damaged("its dynamic table");
        let Some(segment) = segments.iter().find(|segment| segment.p_type(E) == elf::PT_DYNAMIC) else {
            return Ok(Dynamic::default());
        };
        if segment.p_filesz(E) > (ENTRIES * size_of::<elf::Dyn64<Endianness>>()) as u64 {
            return Err(Unreadable::Damaged("the length of its dynamic table"));
        }
        let table = segment.dynamic(E, data).map_err(damaged)?.unwrap_or_default();
        let table = table.iter().map(|entry| (entry.d_tag.get(E), entry.d_val.get(E)));
        let table: Vec<(elf::DynamicTag, u64)> = table.take_while(|(tag, _)| *tag != elf::DT_NULL).collect();
        let value = |tag| table.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
        let strings = match (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) {
            (Some(address), Some(size)) if size <= TABLE => {
                let offset = offset(segments, address).ok_or(Unreadable::Damaged("its string table"))?;
                data.read_bytes_at(offset, size).map_err(|()| Unreadable::Damaged("its string table"))?
            }
            _ => &[],
        };
        let string = |at: u64| -> Result<String, Unreadable> {
            let bytes = usize::try_from(at).ok().and_then(|at| strings.get(at..)).unwrap_or_default();
            let end = memchr::memchr(0, bytes.get(..NAME.min(bytes.len())).unwrap_or_default());
            let name = end.and_then(|end| bytes.get(..end)).and_then(text);
            name.ok_or(Unreadable::Damaged("a name in its dynamic table"))
        };
        let name = |tag| value(tag).map(string).transpose();
        let needed = table.iter().filter(|(tag, _)| *tag == elf::DT_NEEDED).map(|(_, at)| string(*at));
        let flags = value(elf::DT_FLAGS_1).unwrap_or_default();
        Ok(Dynamic {
            needed: needed.collect::<Result<_, _>>()?,
            soname: name(elf::DT_SONAME)?,
            rpath: name(elf::DT_RPATH)?,
            runpath: name(elf::DT_RUNPATH)?,
            no_default: flags & elf::DF_1_NODEFLIB.0 != 0,
            pie: flags & elf::DF_1_PIE.0 != 0,
        })
    }

    /// Whether what has no loader is a library: others are named, or a name for others, and the linker did not mark it
    /// as a static program that is loaded anywhere.
    fn is_library(&self) -> bool {
        !self.pie && (self.soname.is_some() || !self.needed.is_empty())
    }
}

/// Where in the file the byte for this address is.
fn offset(segments: &[elf::ProgramHeader64<Endianness>], address: u64) -> Option<u64> {
    const E: Endianness = Endianness::Little;
    segments.iter().filter(|segment| segment.p_type(E) == elf::PT_LOAD).find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr(E)).filter(|inside| *inside < segment.p_filesz(E))?;
        segment.p_offset(E).checked_add(inside)
    })
}

/// What the tables say that only section headers lead to. A damaged or missing one is like one that was cut off.
#[derive(Default)]
struct Symbols {
    imports: Option<Vec<String>>,
    addon: Vec<String>,
    glibc: Option<(u32, u32)>,
}

impl Symbols {
    fn read<'a, R: ReadRef<'a>>(header: &Header, data: R) -> Self {
        const E: Endianness = Endianness::Little;
        let number = header.shnum(E, data).unwrap_or(u32::MAX);
        let sections = if u64::from(number) <= SECTIONS { header.sections(E, data).ok() } else { None };
        let Some(sections) = sections.filter(fits) else { return Symbols::default() };
        let mut symbols = Symbols { glibc: glibc(&sections, data), ..Symbols::default() };
        let Ok(table) = sections.symbols(E, data, elf::SHT_DYNSYM) else { return symbols };
        let strings = sections.section(table.string_section()).and_then(|section| section.data(E, data));
        let (false, Ok(strings)) = (table.is_empty(), strings) else { return symbols };
        let mut imports = Vec::new();
        let mut left = NAMES;
        for symbol in table.iter() {
            let bytes = strings.get(symbol.st_name(E) as usize..).unwrap_or_default();
            let bytes = bytes.get(..NAME.min(bytes.len())).unwrap_or_default();
            let name = memchr::memchr(0, bytes).and_then(|end| bytes.get(..end)).and_then(text);
            let Some(name) = name.filter(|name| !name.is_empty()) else { continue };
            if symbol.st_shndx(E) == elf::SHN_UNDEF {
                let Some(rest) = left.checked_sub(name.len()) else { return symbols };
                left = rest;
                imports.push(name);
            } else if ADDON.iter().any(|start| name.starts_with(start)) {
                symbols.addon.push(name);
            }
        }
        symbols.imports = Some(imports);
        symbols
    }
}

/// Whether no table is longer than what is read. Those without bytes in the file don't count.
fn fits<'a, R: ReadRef<'a>>(sections: &SectionTable<'a, Header, R>) -> bool {
    const E: Endianness = Endianness::Little;
    let tables = [elf::SHT_DYNSYM, elf::SHT_STRTAB, elf::SHT_GNU_VERNEED];
    sections.iter().all(|section| !tables.contains(&section.sh_type(E)) || section.sh_size(E) <= TABLE)
}

/// The newest `GLIBC_2.x` among the versions that symbols are wanted of.
fn glibc<'a, R: ReadRef<'a>>(sections: &SectionTable<'a, Header, R>, data: R) -> Option<(u32, u32)> {
    const E: Endianness = Endianness::Little;
    let (mut needs, link) = sections.gnu_verneed(E, data).ok()??;
    let strings = sections.strings(E, data, link).ok()?;
    let mut newest = None;
    let mut left = ENTRIES;
    while let Ok(Some((_, mut versions))) = needs.next() {
        while let Ok(Some(version)) = versions.next() {
            left = left.checked_sub(1)?;
            let name = version.name(E, strings).ok().and_then(text).unwrap_or_default();
            let number = name.strip_prefix("GLIBC_").and_then(version_of);
            newest = newest.max(number);
        }
    }
    newest
}

/// The first two numbers of `2.34` or `2.2.5`.
pub(crate) fn version_of(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}
