//! Downloads blobs into the cache: side by side, from the next server where one fails, and on from where they broke off.

use super::client::RequestError;
use super::connection::{Connection, is_passing};
use crate::blob::{Blob, Delivery};
use crate::cache::{Cache, Claim, Incoming};
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::progress::Bar;
use crate::source::credentials::Logins;
use crate::source::endpoint::Endpoint;
use anyhow::{Result, anyhow, bail};
use futures_util::{StreamExt, stream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Layers that are downloaded side by side: Docker's own number.
const DOWNLOADS: usize = 3;
/// Tries for a blob without getting any further. A connection that breaks is taken up where it broke.
const TRIES: u32 = 5;
/// Pause between two looks at what another builder is downloading.
const LOOK: Duration = Duration::from_millis(200);
/// Time without any news from another builder after which a blob is downloaded here as well. It may be stopped.
const PATIENCE: Duration = Duration::from_secs(60);

/// A layer that is to come.
pub(super) struct Download {
    pub(super) descriptor: Descriptor,
    pub(super) delivery: Delivery,
}

/// The servers that may have an image's blobs, the first of them first, and what is needed to connect to them.
pub(super) struct Servers {
    servers: Vec<Server>,
    logins: Logins,
    ca: Option<PathBuf>,
}

struct Server {
    endpoint: Endpoint,
    /// Made when it is needed.
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Servers {
    pub(super) fn new(endpoints: &[Endpoint], logins: &Logins, ca: Option<&Path>) -> Self {
        let server = |endpoint: &Endpoint| Server { endpoint: endpoint.clone(), connection: Mutex::default() };
        Servers { servers: endpoints.iter().map(server).collect(), logins: logins.clone(), ca: ca.map(Path::to_owned) }
    }

    /// What messages call the first.
    pub(super) fn name(&self) -> String {
        self.servers.first().map(|server| server.endpoint.to_string()).unwrap_or_default()
    }

    /// The first server, which tells what the image is.
    pub(super) async fn first(&self) -> Result<Arc<Connection>> {
        let Some(server) = self.servers.first() else { bail!("there is no server to ask") };
        self.connect(server).await
    }

    async fn connect(&self, server: &Server) -> Result<Arc<Connection>> {
        let lock = || server.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = &*lock() {
            return Ok(connection.clone());
        }
        let connection = Arc::new(Connection::open(&server.endpoint, &self.logins, self.ca.as_deref()).await?);
        *lock() = Some(connection.clone());
        Ok(connection)
    }

    /// Downloads layers, in order as far as they are not side by side. Each one's reader is told how it ended.
    pub(super) async fn deliver(&self, downloads: Vec<Download>, cache: &Cache, bar: &Bar) {
        let each = downloads.into_iter().map(|Download { descriptor, delivery }| async move {
            let end = self.receive(&descriptor, Some(&delivery), cache, bar).await;
            let end = end
                .map(drop)
                .map_err(|error| format!("pull layer {} from {}: {error:#}", descriptor.digest.short(), self.name()));
            delivery.finish(end);
        });
        stream::iter(each).buffered(DOWNLOADS).collect::<()>().await;
    }

    /// A blob that the cache lacks: from the first server that gives it, or from another builder that is downloading it.
    /// What has come is told to whoever waits for it.
    pub(super) async fn receive(
        &self,
        descriptor: &Descriptor,
        delivery: Option<&Delivery>,
        cache: &Cache,
        bar: &Bar,
    ) -> Result<Blob> {
        let mut incoming = match claim(&descriptor.digest, cache).await? {
            Claim::Mine(incoming) => *incoming,
            Claim::Here(blob) => {
                if let (Some(delivery), Blob::File { file, len, .. }) = (delivery, blob.slice(0, blob.len())) {
                    delivery.came(&file, len);
                    bar.add(len);
                }
                return Ok(blob);
            }
            Claim::Taken(_) => cache.incoming(&descriptor.digest)?,
        };
        if incoming.len() > descriptor.size {
            incoming.restart()?;
        }
        let mut task = Task { descriptor, delivery, incoming, bar };
        task.bar.add(task.incoming.len());
        task.tell();
        let mut refusals = Vec::new();
        for server in &self.servers {
            if task.is_complete() {
                break;
            }
            match self.connect(server).await {
                Ok(connection) => match task.take_from(&connection).await {
                    Ok(()) => break,
                    Err(Failure::Fatal(error)) => return Err(error),
                    Err(Failure::Server(error)) => refusals.push((server, error)),
                },
                Err(error) => refusals.push((server, error)),
            }
        }
        if !task.is_complete() {
            // What has come stays for the next run. Who is asked is told already if it is one alone.
            let tell = |(server, error): &(&Server, anyhow::Error)| match self.servers.len() {
                1 => format!("{error:#}"),
                _ => format!("{}: {error:#}", server.endpoint),
            };
            bail!("{}", refusals.iter().map(tell).collect::<Vec<_>>().join("; "));
        }
        task.incoming.finish()
    }
}

/// Claims a blob. Where another builder has it, this waits for that one, as long as it gets on.
async fn claim(digest: &Digest, cache: &Cache) -> Result<Claim> {
    let (mut seen, mut news) = (None, Instant::now());
    loop {
        let claim = cache.claim(digest)?;
        let Claim::Taken(bytes) = claim else { return Ok(claim) };
        if seen != Some(bytes) {
            (seen, news) = (Some(bytes), Instant::now());
        }
        if news.elapsed() > PATIENCE {
            return Ok(claim);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Why a blob does not come.
enum Failure {
    /// Another server may do better.
    Server(anyhow::Error),
    /// No other can, as when the disk is full.
    Fatal(anyhow::Error),
}

/// The download of one blob.
struct Task<'a> {
    descriptor: &'a Descriptor,
    delivery: Option<&'a Delivery>,
    incoming: Incoming,
    bar: &'a Bar,
}

impl Task<'_> {
    fn is_complete(&self) -> bool {
        self.incoming.len() == self.descriptor.size
    }

    fn tell(&self) {
        if let Some(delivery) = self.delivery {
            self.incoming.tell(delivery);
        }
    }

    /// Receives what is still missing from one server, as often as its connection breaks.
    async fn take_from(&mut self, connection: &Connection) -> Result<(), Failure> {
        let (mut fruitless, mut furthest) = (0, self.incoming.len());
        loop {
            let Some(error) = self.download(connection).await? else { return Ok(()) };
            if self.incoming.len() > furthest {
                (fruitless, furthest) = (0, self.incoming.len());
            }
            fruitless += 1;
            if matches!(error, RequestError::Damaged(..)) {
                return Err(self.damaged(connection.explain(error)));
            }
            if fruitless == TRIES || !is_passing(&error) {
                return Err(Failure::Server(connection.explain(error)));
            }
            // 0.2, 0.4, 0.8, 1.6 s: three seconds in all, enough for a server to restart a connection.
            tokio::time::sleep(Duration::from_millis(100 << fruitless)).await;
        }
    }

    /// Receives until the end, or the error with which the connection broke.
    async fn download(&mut self, connection: &Connection) -> Result<Option<RequestError>, Failure> {
        let offset = self.incoming.len();
        let (mut answer, partial) = match connection.open_blob(&self.descriptor.digest, offset).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Some(error)),
        };
        // A server that ignores the range sends again what is here already, and perhaps read.
        let mut skip = if partial { 0 } else { offset };
        loop {
            let bytes = match answer.chunk().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(error) => return Ok(Some(error.into())),
            };
            let known = usize::try_from(skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
            skip -= known as u64;
            self.take(&bytes[known..])?;
        }
        if !self.is_complete() {
            return Ok(Some(RequestError::Short(self.incoming.len(), self.descriptor.size)));
        }
        let found = self.incoming.digest();
        let is_whole = found == self.descriptor.digest;
        Ok((!is_whole).then(|| RequestError::Damaged(found, self.descriptor.digest)))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.delivery.is_some_and(|delivery| !delivery.is_wanted()) {
            return Err(Failure::Fatal(anyhow!("nobody reads it any more")));
        }
        if self.incoming.len() + bytes.len() as u64 > self.descriptor.size {
            let size = self.descriptor.size;
            return Err(self.damaged(anyhow!("more was sent than the {size} bytes that the manifest tells")));
        }
        self.incoming.write(bytes).map_err(Failure::Fatal)?;
        self.bar.add(bytes.len() as u64);
        self.tell();
        Ok(())
    }

    /// Gives up what has come. Another server can mend it only if nobody can have read it yet.
    fn damaged(&mut self, error: anyhow::Error) -> Failure {
        if self.delivery.is_some() {
            return Failure::Fatal(self.incoming.abandon().err().unwrap_or(error));
        }
        match self.incoming.restart() {
            Ok(()) => Failure::Server(error),
            Err(restart) => Failure::Fatal(restart),
        }
    }
}
