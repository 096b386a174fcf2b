//! Uevents: the kernel's news of devices that come and go (netlink(7), NETLINK_KOBJECT_UEVENT).

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with, sockopt};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The multicast group that the kernel itself speaks to; group 2 is udev's.
const KERNEL_GROUP: u32 = 1;
/// The kernel's own limit for one event (UEVENT_BUFFER_SIZE) and its header line.
const LONGEST_EVENT: usize = 8192;
/// A burst of coldplug events waits here while modules load.
const RECEIVE_BUFFER: usize = 2 << 20;

/// What happened to which device.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Uevent {
    /// `add`, `remove`, `change`, …
    pub action: String,
    /// `block`, `net`, `input`, `pci`, …
    pub subsystem: String,
    /// Path of the device below /sys.
    pub devpath: String,
    /// `disk` or `partition`, of a block device.
    pub devtype: Option<String>,
    /// What modules.alias is matched against, where the device has a driver to look for.
    pub modalias: Option<String>,
    /// Path below /dev, where it has one.
    pub devname: Option<String>,
    /// Name of a network link, when it was made or last renamed.
    pub interface: Option<String>,
    /// Index of a network link, which it keeps.
    pub link: Option<u32>,
    /// A program had the kernel say it (`udevadm trigger`): nothing has happened.
    pub synthetic: bool,
}

/// Reads one message: `ACTION@DEVPATH`, then `KEY=VALUE` entries, each ended by a NUL. `None` for anything else.
#[must_use]
pub fn parse(message: &[u8]) -> Option<Uevent> {
    let mut entries = message.split(|byte| *byte == 0).map(|entry| std::str::from_utf8(entry).ok());
    entries.next()??.split_once('@')?;
    let mut event = Uevent::default();
    for (key, value) in entries.flatten().filter_map(|entry| entry.split_once('=')) {
        match key {
            "ACTION" => value.clone_into(&mut event.action),
            "SUBSYSTEM" => value.clone_into(&mut event.subsystem),
            "DEVPATH" => value.clone_into(&mut event.devpath),
            "DEVTYPE" => event.devtype = Some(value.to_owned()),
            "MODALIAS" => event.modalias = Some(value.to_owned()),
            "DEVNAME" => event.devname = Some(value.to_owned()),
            "INTERFACE" => event.interface = Some(value.to_owned()),
            // Documentation/ABI/testing/sysfs-uevent: in every event that a program asks for by /sys/…/uevent.
            "SYNTH_UUID" => event.synthetic = true,
            "IFINDEX" => event.link = value.parse().ok(),
            _ => {}
        }
    }
    (!event.action.is_empty()).then_some(event)
}

/// The socket that uevents arrive on.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

/// What reading the socket gave.
#[derive(Debug)]
pub enum Received {
    /// One event.
    Event(Uevent),
    /// More came than the buffer holds: look at /sys instead.
    Overflow,
    /// Nothing is waiting.
    Nothing,
}

impl Uevents {
    /// Listens from now on. To miss nothing, listen first and look at /sys afterwards.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn listen() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))
            .context("open the uevent socket")?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP)).context("listen to the kernel's uevents")?;
        // Without the larger buffer an overflow is likelier, and an overflow is survived.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        Ok(Uevents(socket))
    }

    /// The next event that waits.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn receive(&self) -> Result<Received> {
        let mut buffer = [0; LONGEST_EVENT];
        loop {
            let (length, _, sender) = match recvfrom(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok(received) => received,
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(Errno::NOBUFS) => return Ok(Received::Overflow),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno).context("read uevents"),
            };
            // Any process with the right capability can send here; the kernel is port 0.
            let kernel =
                sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok()).is_some_and(|s| s.pid() == 0);
            if let Some(event) = buffer.get(..length).filter(|_| kernel).and_then(parse) {
                return Ok(Received::Event(event));
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_network_card_as_the_kernel_announces_it() {
        let message = b"add@/devices/pci0000:00/0000:00:03.0/virtio1\0ACTION=add\0DEVPATH=/devices/pci0000:00/0000:00:03.0/virtio1\0SUBSYSTEM=virtio\0MODALIAS=virtio:d00000001v00001AF4\0SEQNUM=812\0";
        assert_eq!(
            parse(message),
            Some(Uevent {
                action: "add".to_owned(),
                subsystem: "virtio".to_owned(),
                devpath: "/devices/pci0000:00/0000:00:03.0/virtio1".to_owned(),
                modalias: Some("virtio:d00000001v00001AF4".to_owned()),
                ..Uevent::default()
            })
        );
    }

    #[test]
    fn a_link_comes_with_its_name_and_its_index() {
        let message = b"remove@/devices/virtual/net/eth1\0ACTION=remove\0SUBSYSTEM=net\0INTERFACE=eth1\0IFINDEX=3\0";
        let event = parse(message).unwrap();
        assert_eq!((event.interface.as_deref(), event.link), (Some("eth1"), Some(3)));
    }

    #[test]
    fn what_a_program_had_the_kernel_say_is_known() {
        let message = b"add@/devices/pci0000:00/0000:00:03.0\0ACTION=add\0SUBSYSTEM=pci\0SYNTH_UUID=0\0";
        assert!(parse(message).unwrap().synthetic);
    }

    #[test]
    fn udevs_own_messages_and_garbage_are_no_events() {
        for message in [&b"libudev\0\xfe\xed\xca\xfe"[..], b"", b"\0", b"add@/devices\0", b"\xff@\0ACTION=add\0"] {
            assert_eq!(parse(message), None, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message: Vec<u8>) {
            let _ = parse(&message);
        }
    }
}
