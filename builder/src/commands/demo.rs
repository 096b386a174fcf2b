//! `builder demo`: the example web server as a machine, through the same steps as any image, booted in QEMU.

use crate::qemu::{self, Forward, Hardware};
use anyhow::{Context, Result};
use builder::blob::Blob;
use builder::build::{Machine, make_image};
use builder::cache::{self, Cache};
use builder::digest::Digest;
use builder::flatten::{Content, Layer};
use builder::kernel::find;
use builder::machine::Options;
use builder::manifest::{ImageConfig, RunConfig};
use builder::outfile::Files;
use builder::output::Output;
use builder::platform::Platform;
use builder::progress::Progress;
use builder::source::Container;
use builder::tarball::writer::Writer;
use builder::tarball::{Attributes, Entry, Kind};
use builder::{cmdline, embedded, tools};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The port that examples/hello listens at.
const GUEST_PORT: u16 = 8080;
/// Time between two looks whether the machine answers, and for it to answer one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Builds the machine and boots it; ends when the machine does.
pub(crate) fn run(port: u16, kernel: Option<&Path>, progress: &Progress) -> Result<()> {
    tools::require(&[tools::QEMU, tools::OVMF], progress)?;
    let platform = Platform::host();
    let directory = cache::directory()?;
    let cache = Cache::open(&directory)?;
    let output = Output::new(Some(&directory.join("demo.raw")), "", None);
    let disk = output.begin(&mut Files::default(), &cache)?;
    let machine = Machine {
        name: "hello".to_owned(),
        platform,
        container: hello()?,
        // The example has no handler for SIGTERM, which PID 1 must have to be ended by it.
        options: Options { pid1: Some(false), ..Options::default() },
        cmdline: cmdline::cmdline(platform.arch, None, false)?,
        kernel: find::find(kernel, platform.arch, &directory, progress)?,
        init: embedded::INIT.into(),
    };
    make_image(&machine, disk, &output, &cache, progress)?;
    let port = free_port(port, progress)?;
    let hardware =
        Hardware { ports: vec![Forward { host: port, guest: GUEST_PORT, udp: false }], ..Hardware::default() };
    let announced = progress.clone();
    // The thread ends with the program: nobody waits for it.
    qemu::boot(&output.path, &hardware, progress, move || drop(thread::spawn(move || announce(port, &announced))))
}

/// An image FROM scratch with one file in it, as a registry would give it.
fn hello() -> Result<Container> {
    let entry = Entry {
        path: b"hello".to_vec(),
        kind: Kind::File,
        attributes: Attributes { mode: 0o755, ..Attributes::default() },
        size: embedded::HELLO.len() as u64,
        xattrs: Vec::new(),
    };
    let mut writer = Writer::new(Vec::new());
    writer.append(&entry, embedded::HELLO).context("pack the example")?;
    let tar = writer.finish().context("pack the example")?;
    let run = RunConfig { entrypoint: vec!["/hello".to_owned()], ..RunConfig::default() };
    let id = Digest::of(&tar);
    let content = Content::Blob(Blob::Memory(tar.into()));
    let layer = Layer { name: "of the example".to_owned(), content, digest: None, diff_id: Some(id) };
    let config = ImageConfig { config: run, ..ImageConfig::default() };
    // It has no configuration of its own to be named by.
    Ok(Container { id, pin: None, manifest: None, config, layers: vec![layer] })
}

/// The wanted port, or a free one if somebody has that.
fn free_port(wanted: u16, progress: &Progress) -> Result<u16> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).is_ok() {
        return Ok(wanted);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    let port = listener.local_addr().context("find a free port")?.port();
    progress.step(format!("port {wanted} is taken on this machine; port {port} is used instead"));
    Ok(port)
}

/// Waits until the machine answers, then prints where.
fn announce(port: u16, progress: &Progress) {
    // QEMU accepts connections before the machine does, so only an answer counts. The loop ends with the program at
    // the latest, which ends with the machine.
    while !answers(port) {
        thread::sleep(PATIENCE);
    }
    progress.step("the machine answers:");
    // A reader that went away is no failure of the machine.
    let _ = writeln!(std::io::stdout(), "http://localhost:{port}/");
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut start = [0; 5];
        stream.read_exact(&mut start)?;
        Ok(start == *b"HTTP/")
    };
    ask().unwrap_or(false)
}
