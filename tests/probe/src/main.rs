//! The program inside the images of boot scenarios. Its arguments say what it does:
//!
//! ```text
//! probe say TEXT...          prints the words on one line
//! probe exit STATUS          ends with this status
//! probe identity             prints user, group, groups and working directory
//! probe kernel-log           prints the kernel's log with its time stamps, up to this moment
//! probe wait                 waits for ever
//! probe signal PID SIGNAL    sends a signal, to itself where PID is self
//! probe hear SIGNAL          has a child send it to PID 1, which the probe is, and says when it arrives
//! probe adopt                leaves an orphan to PID 1, which the probe is, reaps it, and says so
//! probe leave-child          leaves a child that says when SIGTERM comes, and goes on
//! probe ignore SIGNAL...     ignores signals from here on
//! probe crash SIGNAL         dies of it
//! probe cat FILE             prints a file, a line for each NUL
//! probe list DIRECTORY       prints the names in it, sorted
//! probe fill FILE            writes until there is no space left, says so, removes it
//! probe eat-memory           takes memory until the kernel ends it
//! probe orphans COUNT        leaves so many children to PID 1, ends them at once, says when they were reaped
//! probe fork-bomb            is one
//! probe log MB/S SECONDS     writes lines at that rate (0: as fast as it can), says how many
//! probe swap SECONDS         waits for swap, and prints it
//! probe write FILE           tries to make a file
//! probe mount PATH           prints what is mounted there
//! probe space PATH           prints how much its file system holds, in bytes and files
//! probe grown PATH FILES     waits until it may hold so many files, and prints that
//! probe own DIRECTORY        gives all files in it another owner, mode, time and attribute, says what that has written
//! probe files DIRECTORY N    makes so many files in it, or as many as there may be
//! probe rename FROM TO       renames a file or directory
//! probe link FROM TO         makes a hard link
//! probe worker MIB           has a child take memory and crash, says what that has written
//! probe allow-cores          raises the limit of core files
//! probe lines COUNT          writes numbered lines slowly, every tenth to standard error, the last without an end
//! probe flood                writes 50 MB/s to a file and to standard output, and says how long each took
//! probe print FILE TEXT...   writes a line into a file that is there
//! probe append FILE TEXT...  adds a line to a file that is there
//! probe dirty DISK MIB       writes over a disk, as far as the kernel's memory
//! probe make-directory PATH  makes one
//! probe attach SERIAL PATH   mounts the ext4 of the NVMe disk of that serial number in a directory that it makes
//! probe knows FILESYSTEM     says whether the kernel knows it, asking for its module as mount(2) does
//! probe settings             prints the names of all kernel settings
//! probe report               prints all that it can find out about where it runs
//! probe reboot HOW           asks the kernel for it: power-off or restart
//! probe serve                serves files over HTTP on port 80: GET /proc/self/environ; the clock as /clock
//! ```
//!
//! Several may stand after one another, with `then` between them. SIGTERM ends the probe with status 143: as PID 1 of a
//! namespace it must handle that itself. A report has no such handler.

mod clock;
mod console;
mod exhaust;
mod identity;
mod kernel_log;
mod log;
mod report;
mod serve;
mod settings;
mod signals;
mod storage;
mod writes;

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|word| word == "report")
        && let Err(error) = signals::end_by_sigterm()
    {
        println!("probe: {error}");
    }
    let mut status = ExitCode::SUCCESS;
    for words in arguments.split(|word| word == "then") {
        match perform(words) {
            Ok(code) => status = code,
            Err(error) => {
                println!("probe: {}: {error}", words.join(" "));
                return ExitCode::FAILURE;
            }
        }
    }
    status
}

fn perform(words: &[String]) -> io::Result<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["say", ref text @ ..] => println!("{}", text.join(" ")),
        ["exit", status] => return status.parse().map(u8::into).map_err(io::Error::other),
        ["identity"] => identity::print()?,
        ["kernel-log"] => kernel_log::print()?,
        ["wait"] => loop {
            std::thread::park();
        },
        ["hear", signal] => signals::hear(signal)?,
        ["adopt"] => signals::adopt()?,
        ["leave-child"] => signals::leave_child()?,
        ["signal", process, signal] => signals::send(process, signal)?,
        ["ignore", ref names @ ..] => signals::ignore(names)?,
        ["crash", signal] => signals::crash(signal)?,
        ["cat", file] => print!("{}", String::from_utf8_lossy(&std::fs::read(file)?).replace('\0', "\n")),
        ["list", directory] => list(directory)?,
        ["fill", file] => exhaust::fill(file)?,
        ["eat-memory"] => exhaust::memory(),
        ["orphans", count] => exhaust::orphans(count)?,
        ["fork-bomb"] => exhaust::fork_bomb(),
        ["log", rate, seconds] => log::write(rate, seconds)?,
        ["swap", seconds] => storage::swap(seconds)?,
        ["write", file] => storage::write(file),
        ["mount", path] => storage::mount(path)?,
        ["space", path] => writes::space(path)?,
        ["grown", path, files] => writes::grown(path, files)?,
        ["own", directory] => writes::own(directory)?,
        ["files", directory, count] => writes::files(directory, count)?,
        ["rename", from, to] => std::fs::rename(from, to)?,
        ["link", from, to] => std::fs::hard_link(from, to)?,
        ["worker", mib] => writes::worker(mib)?,
        ["allow-cores"] => writes::allow_cores()?,
        ["lines", count] => console::lines(count)?,
        ["flood"] => console::flood()?,
        ["print", file, ref text @ ..] => console::print(file, text)?,
        ["append", file, ref text @ ..] => console::append(file, text)?,
        ["dirty", disk, mib] => console::dirty(disk, mib)?,
        ["make-directory", path] => std::fs::create_dir(path)?,
        ["attach", serial, path] => storage::attach(serial, path)?,
        ["knows", name] => storage::knows(name),
        ["settings"] => settings::print()?,
        ["report"] => report::print()?,
        ["reboot", how] => return report::reboot(how),
        ["serve"] => serve::forever()?,
        _ => return Err(io::Error::other("the probe knows no such thing")),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(directory: &str) -> io::Result<()> {
    let names = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    names.iter().for_each(|name| println!("{directory}: {name}"));
    Ok(())
}
