//! One NTP server: how often it is asked, the question that is open, and what it answered.

use super::discipline::Sample;
use super::packet::{LENGTH, Refusal, parse, request};
use super::raw;
use crate::debug;
use anyhow::{Context, Result};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

const PORT: u16 = 123;
/// How many unbelievable messages are read per question: whoever forges answers shall not keep init busy.
const MOST_REFUSED: u32 = 8;
/// A silent server is asked in every 2ⁿth round at last, one that wants to be asked less often as well.
const SLOWEST: u32 = 4;

/// An NTP server.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub address: IpAddr,
    /// What it answered in this round.
    pub answer: Option<Sample>,
    /// Whether it said never to ask again.
    pub denied: bool,
    question: Option<Question>,
    /// When it was asked last, and how far rounds were apart then.
    asked: Option<(Instant, Duration)>,
    /// It is asked in every 2ⁿth round.
    pace: u32,
    /// As it wishes.
    least_pace: u32,
}

#[derive(Debug)]
struct Question {
    socket: UdpSocket,
    origin: u64,
    sent: i64,
    refused: u32,
}

impl Server {
    /// A server that was never asked.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Server { address, answer: None, denied: false, question: None, asked: None, pace: 0, least_pace: 0 }
    }

    /// Until when it is left alone, if it is.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        let (moment, interval) = self.asked.filter(|_| self.pace > 0)?;
        // Half a round less, so that it does not miss its round by a moment.
        Some(moment + interval.saturating_mul(1 << self.pace) - interval / 2)
    }

    /// Its socket, while an answer is awaited.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.question.as_ref().map(|question| question.socket.as_fd())
    }

    /// Asks for the time, unless it is to be left alone; `interval` is how far rounds are apart.
    pub fn ask(&mut self, now: Instant, interval: Duration) {
        self.answer = None;
        self.question = None;
        if self.denied || self.rests_until().is_some_and(|moment| now < moment) {
            return;
        }
        self.asked = Some((now, interval));
        // Until an answer comes it is a silent one.
        self.pace = (self.pace + 1).min(SLOWEST);
        match Question::ask(self.address) {
            Ok(question) => self.question = Some(question),
            Err(error) => debug!("clock: {error:#}"),
        }
    }

    /// The round is over: an answer that comes later is none.
    pub fn give_up(&mut self) {
        self.question = None;
    }

    /// Forgets that it was silent, as all others were as well.
    pub fn forgive(&mut self) {
        self.pace = self.least_pace;
    }

    /// Something arrived. Gives whether it was an answer that cannot be believed.
    pub fn on_socket(&mut self) -> bool {
        let mut refused = false;
        while let Some(question) = &mut self.question {
            match question.receive() {
                Ok(None) => break,
                Ok(Some(Ok(sample))) => {
                    self.answer = Some(sample);
                    self.question = None;
                    self.pace = self.least_pace;
                }
                Ok(Some(Err(refusal))) => {
                    debug!("clock: {}: {refusal}", self.address);
                    refused = true;
                    question.refused += 1;
                    self.on_refusal(refusal);
                }
                // Nobody listens there, as ICMP tells.
                Err(error) => {
                    debug!("clock: {}: {error}", self.address);
                    self.question = None;
                }
            }
        }
        refused
    }

    fn on_refusal(&mut self, refusal: Refusal) {
        let spent = self.question.as_ref().is_none_or(|question| question.refused >= MOST_REFUSED);
        match refusal {
            Refusal::Slower => {
                self.least_pace = (self.least_pace + 1).min(SLOWEST);
                self.pace = self.least_pace;
            }
            Refusal::Denied => self.denied = true,
            // Somebody else's message: the server's own may still come.
            Refusal::Short | Refusal::Version | Refusal::Mode | Refusal::Origin if !spent => return,
            _ => {}
        }
        self.question = None;
    }
}

impl Question {
    /// From a port of its own, which an answer must come back to, by a socket that hears nobody but this server.
    fn ask(address: IpAddr) -> Result<Self> {
        let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
        let attempt = || {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect((address, PORT))?;
            socket.set_nonblocking(true)?;
            let mut origin = [0; 8];
            // Never waits for entropy; a machine without any at this point has a time that is not worth forging.
            getrandom(&mut origin, GetRandomFlags::INSECURE)?;
            let origin = u64::from_ne_bytes(origin);
            let sent = raw();
            socket.send(&request(origin))?;
            Ok(Question { socket, origin, sent, refused: 0 })
        };
        attempt().map_err(|error: std::io::Error| error).with_context(|| format!("ask {address} for the time"))
    }

    /// The next message, if one waits.
    fn receive(&self) -> std::io::Result<Option<Result<Sample, Refusal>>> {
        let mut message = [0; 2 * LENGTH];
        let length = match self.socket.recv(&mut message) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(None),
            Err(error) => return Err(error),
        };
        let heard = raw();
        let reply = parse(message.get(..length).unwrap_or_default(), self.origin);
        Ok(Some(reply.map(|reply| {
            let (trip, held) = (heard - self.sent, reply.sent - reply.received);
            Sample {
                raw: self.sent + trip / 2,
                time: reply.received + held / 2,
                delay: (trip - held).max(0),
                distance: reply.distance,
                leap: reply.leap,
            }
        })))
    }
}
