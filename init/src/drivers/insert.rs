//! Hands module files to the kernel.

use super::cmdline::Cmdline;
use super::index::name_of;
use super::plan::Waves;
use anyhow::{Context, Result, anyhow};
use rustix::io::Errno;
use std::fs::{self, File};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The kernel unpacks the file itself (`MODULE_INIT_COMPRESSED_FILE`, finit_module(2)).
const COMPRESSED_FILE: i32 = 4;
/// Endings of files that are compressed.
const COMPRESSED: &[&str] = &["zst", "xz", "gz"];
/// Bytes of a loading thread's stack: it makes a path and one system call.
const STACK: usize = 64 << 10;
/// Most threads that load modules: more only wait for the kernel's locks.
const MOST_THREADS: usize = 8;

/// Loads modules wave by wave, those of a wave on all processors, and gives what failed: file and reason. The calling
/// thread is the only one again when it returns, so that it may fork.
#[must_use]
pub(super) fn insert(directory: &Path, waves: &Waves<'_>, cmdline: &Cmdline) -> Vec<(String, anyhow::Error)> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let mut failed = Vec::new();
    for wave in waves {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut failed = Vec::new();
            while let Some(file) = wave.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = one(directory, file, cmdline) {
                    failed.push(((*file).to_owned(), error));
                }
            }
            failed
        };
        thread::scope(|scope| {
            let helpers = processors.min(wave.len()).min(MOST_THREADS).saturating_sub(1);
            // A thread that cannot be had leaves its work to the others.
            let spawn = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok();
            let helpers: Vec<_> = (0..helpers).filter_map(spawn).collect();
            failed.extend(work());
            failed.extend(helpers.into_iter().filter_map(|helper| helper.join().ok()).flatten());
        });
    }
    failed
}

fn one(directory: &Path, file: &str, cmdline: &Cmdline) -> Result<()> {
    if is_live(&name_of(file)) {
        return Ok(());
    }
    let path = directory.join(file);
    let module = File::open(&path).with_context(|| format!("open module {}", path.display()))?;
    let parameters = cmdline.parameters_of(&name_of(file));
    let packed = compression(file);
    let flags = if packed.is_some() { COMPRESSED_FILE } else { 0 };
    let doing = || format!("load module {}", path.display());
    match (rustix::system::finit_module(&module, &parameters, flags), packed) {
        // EEXIST: it is loaded, or built into the kernel. ENODEV: its device is not here after all.
        (Ok(()) | Err(Errno::EXIST | Errno::NODEV), _) => Ok(()),
        // Before Linux 5.17 the flag is unknown; later kernels may be built without the decompressor, or with another.
        (Err(Errno::OPNOTSUPP | Errno::INVAL), Some(packed)) => {
            Err(anyhow!("this kernel cannot unpack modules compressed with {packed}: pack them decompressed"))
                .with_context(doing)
        }
        (Err(errno), _) => Err(errno).with_context(doing),
    }
}

/// Whether a module is loaded and has started: the kernel would read the whole file to say so.
fn is_live(name: &str) -> bool {
    let state = Path::new("/sys/module").join(name).join("initstate");
    fs::read_to_string(state).is_ok_and(|state| state.trim_end() == "live")
}

/// The ending of a module's file that says how it is compressed.
fn compression(file: &str) -> Option<&str> {
    file.rsplit_once(".ko.").map(|(_, ending)| ending).filter(|ending| COMPRESSED.contains(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_how_they_are_compressed() {
        let endings = ["a/nvme.ko", "a/nvme.ko.zst", "a/nvme.ko.xz", "a/nvme.ko.gz", "a/nvme.ko.sig"].map(compression);
        assert_eq!(endings, [None, Some("zst"), Some("xz"), Some("gz"), None]);
    }

    #[test]
    fn whatever_fails_is_told_with_its_reason_and_the_rest_is_tried() {
        let directory = tempfile_directory();
        let failed = insert(&directory, &vec![vec!["a.ko", "b.ko.zst"], vec!["c.ko"]], &Cmdline::default());
        let mut files: Vec<&str> = failed.iter().map(|(file, _)| file.as_str()).collect();
        files.sort_unstable();
        assert_eq!(files, ["a.ko", "b.ko.zst", "c.ko"]);
        let reason = format!("{:#}", failed.iter().find(|(file, _)| file == "a.ko").unwrap().1);
        assert!(reason.starts_with(&format!("open module {}/a.ko: ", directory.display())), "{reason}");
    }

    fn tempfile_directory() -> std::path::PathBuf {
        std::env::temp_dir().join("nanoos-no-such-directory")
    }
}
