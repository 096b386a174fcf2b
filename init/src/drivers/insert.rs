//! Hands module files to the kernel.

use super::cmdline::Cmdline;
use super::index::name_of;
use super::plan::Chain;
use anyhow::{Context, Result, anyhow};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The kernel unpacks the file itself (`MODULE_INIT_COMPRESSED_FILE`, finit_module(2)).
const COMPRESSED_FILE: i32 = 4;
/// Endings of files that are compressed.
const COMPRESSED: &[&str] = &["zst", "xz", "gz"];
/// Bytes of a loading thread's stack: it makes a path and one system call.
const STACK: usize = 64 << 10;
/// Most threads that load modules. Chains need them where one of them hangs: the others go on.
const MOST_THREADS: usize = 8;
/// The parameter that every module knows (do_init_module in the kernel's kernel/module/main.c): its devices are taken
/// beside the call that loads it. Without it that call ends only when no device of the machine is being taken by any
/// driver, which is never where a disk hangs.
const ASYNC_PROBE: &str = "async_probe";

/// What becomes of a module.
#[derive(Debug)]
pub(super) enum Step {
    /// It is handed to the kernel now.
    Begun,
    /// It did not load.
    Failed(anyhow::Error),
}

/// Loads modules, each chain by a thread of its own if there are several, and reports each file's steps. The calling
/// thread is the only one again when it returns.
pub(super) fn insert(directory: &Path, chains: &[Chain<'_>], cmdline: &Cmdline, report: impl Fn(&str, Step) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(chain) = chains.get(next.fetch_add(1, Ordering::Relaxed)) {
            for (number, file) in chain.files.iter().enumerate() {
                let in_order = chain.in_order && number + 1 == chain.files.len();
                if let Err(error) = one(directory, file, &parameters(cmdline, file, in_order), &report) {
                    report(file, Step::Failed(error));
                }
            }
        }
    };
    thread::scope(|scope| {
        let helpers = chains.len().min(MOST_THREADS).saturating_sub(1);
        for _ in 0..helpers {
            // A thread that cannot be had leaves its work to the others.
            let _ = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        }
        work();
    });
}

fn parameters(cmdline: &Cmdline, file: &str, in_order: bool) -> CString {
    let own = cmdline.parameters_of(&name_of(file));
    let words = if in_order { own } else { format!("{own} {ASYNC_PROBE}") };
    // The command line cannot hold a NUL.
    CString::new(words.trim_start()).unwrap_or_default()
}

fn one(directory: &Path, file: &str, parameters: &CString, report: impl Fn(&str, Step)) -> Result<()> {
    if is_live(&name_of(file)) {
        return Ok(());
    }
    report(file, Step::Begun);
    let path = directory.join(file);
    let module = File::open(&path).with_context(|| format!("open module {}", path.display()))?;
    let packed = compression(file);
    let flags = if packed.is_some() { COMPRESSED_FILE } else { 0 };
    let doing = || format!("load module {}", path.display());
    match (rustix::system::finit_module(&module, parameters, flags), packed) {
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
pub(super) fn is_live(name: &str) -> bool {
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
    use std::sync::Mutex;

    #[test]
    fn files_say_how_they_are_compressed() {
        let endings = ["a/nvme.ko", "a/nvme.ko.zst", "a/nvme.ko.xz", "a/nvme.ko.gz", "a/nvme.ko.sig"].map(compression);
        assert_eq!(endings, [None, Some("zst"), Some("xz"), Some("gz"), None]);
    }

    #[test]
    fn no_module_waits_for_devices_but_those_whose_order_counts() {
        let cmdline = Cmdline::of("nvme_core.io_timeout=4294967295 quiet");
        let words = |file, in_order| parameters(&cmdline, file, in_order).into_string().unwrap();
        assert_eq!(words("kernel/nvme-core.ko", false), "io_timeout=4294967295 async_probe");
        assert_eq!(words("kernel/virtio_blk.ko", false), "async_probe");
        assert_eq!(words("kernel/ena.ko", true), "");
    }

    #[test]
    fn whatever_fails_is_told_with_its_reason_and_the_rest_is_tried() {
        let directory = std::env::temp_dir().join("nanoos-no-such-directory");
        let chain = |files: &[&'static str]| Chain { files: files.to_vec(), in_order: false };
        let failed = Mutex::new(Vec::new());
        insert(&directory, &[chain(&["a.ko", "b.ko.zst"]), chain(&["c.ko"])], &Cmdline::default(), |file, step| {
            if let Step::Failed(error) = step {
                failed.lock().unwrap().push((file.to_owned(), format!("{error:#}")));
            }
        });
        let mut failed = failed.into_inner().unwrap();
        failed.sort_unstable();
        let files: Vec<&str> = failed.iter().map(|(file, _)| file.as_str()).collect();
        assert_eq!(files, ["a.ko", "b.ko.zst", "c.ko"]);
        assert!(failed[0].1.starts_with(&format!("open module {}/a.ko: ", directory.display())), "{}", failed[0].1);
    }
}
