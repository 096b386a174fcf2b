//! From a disk to AMIs, in every region that is meant; and `builder publish`.

use super::Ec2;
use crate::cli::Report;
use crate::cli::ec2::{Publish, Publishing};
use crate::cli::grammar::{self, Found};
use crate::commands::report::{path_word, print};
use anyhow::{Context, Result, anyhow, bail, ensure};
use aws::{Architecture, Contents, Encryption, KeyArn, Launch, Machine, Order, Published};
use builder::blocks::{self, Block};
use builder::cleanup::on_interrupt;
use builder::inspect::{extents, inspect};
use builder::progress::{Progress, mebibytes, printable};
use builder::provenance::Provenance;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long a launch check waits: instances start in half a minute, and what they say on the console takes minutes to be told.
const LAUNCH_PATIENCE: Duration = Duration::from_secs(600);

/// GiB of a gp3 volume at most.
const LARGEST_SWAP: u32 = 65_536;

/// A disk that is to be published.
pub(crate) struct Disk<'a> {
    pub(crate) file: File,
    pub(crate) blocks: Vec<Block>,
    pub(crate) provenance: &'a Provenance,
    /// What it was made of, such as `nginx:1.27`.
    pub(crate) source: String,
    /// The same without its tag.
    pub(crate) repository: String,
}

/// What is wanted of the images, checked as far as it can be before any work.
pub(crate) struct Wishes<'a> {
    publishing: &'a Publishing,
    encryption: Encryption,
    launch: Option<Launch>,
}

impl<'a> Wishes<'a> {
    pub(crate) fn new(publishing: &'a Publishing) -> Result<Self> {
        for (at, (key, _)) in publishing.tag.iter().enumerate() {
            let again = publishing.tag[..at].iter().any(|(earlier, _)| earlier == key);
            ensure!(!again, "--tag {key}: a tag has one value, and this one is given two");
        }
        let most = aws::MOST_OF_USER;
        ensure!(publishing.tag.len() <= most, "--tag: {most} tags are left for you of the 50 that EC2 takes");
        if let Some(name) = &publishing.ssm_parameter {
            aws::check_parameter_name(name).with_context(|| format!("--ssm-parameter {name}"))?;
        }
        let launch = match &publishing.verify {
            Some(check) => Some(Launch {
                check: check.parse().with_context(|| format!("--verify {check}"))?,
                instance_type: publishing.verify_type.clone(),
                subnet: publishing.verify_subnet.clone(),
                security_group: publishing.verify_security_group.clone(),
                timeout: LAUNCH_PATIENCE,
            }),
            None => None,
        };
        let encryption = encryption(publishing.encrypted, publishing.kms_key.as_deref())?;
        Ok(Wishes { publishing, encryption, launch })
    }

    /// Whether they can be fulfilled in these regions.
    pub(crate) fn check(&self, ec2: &Ec2) -> Result<()> {
        let Encryption::Key(key) = &self.encryption else { return Ok(()) };
        match ec2.regions.iter().find(|region| *region != key.region()) {
            Some(other) => bail!(
                "--kms-key {}: a key is used in its own region, {}, and {other} is meant, too",
                key.as_str(),
                key.region()
            ),
            None => Ok(()),
        }
    }
}

pub(super) fn encryption(encrypted: bool, key: Option<&str>) -> Result<Encryption> {
    Ok(match key {
        Some(key) => Encryption::Key(key.parse::<KeyArn>().with_context(|| format!("--kms-key {key}"))?),
        None if encrypted => Encryption::Encrypted,
        None => Encryption::Default,
    })
}

/// `builder publish`.
pub(crate) fn publish(command: &Publish, progress: &Progress) -> Result<()> {
    let (path, shown) = (&command.disk, command.disk.display());
    if let Ok(Found::Local(path)) = grammar::look(path) {
        bail!("{shown} is no disk: builder {} makes an AMI of it", path_word(&path));
    }
    let wishes = Wishes::new(&command.publishing)?;
    let account = super::account(&command.publishing.access)?;
    let extents = extents(path)?;
    let file = File::open(path).with_context(|| format!("open {shown}"))?;
    let ec2 = Ec2::open(account, command.publishing.all_regions, progress)?;
    wishes.check(&ec2)?;
    progress.step(format!("read {shown}"));
    let (report, blocks) = thread::scope(|scope| {
        let report = scope.spawn(|| inspect(path));
        let blocks = blocks::complete(&file, &extents, Vec::new());
        (report.join(), blocks)
    });
    let report = report.map_err(|_| anyhow!("read the disk: this is a fault of builder's own"))??;
    let blocks = blocks?;
    if let Some(check) = report.checks.iter().find(|check| !check.holds()) {
        bail!("{shown}: its {} is no longer what was built (builder inspect tells more): build it again", check.name);
    }
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let provenance = &report.provenance;
    let disk = Disk { file, blocks, provenance, source: stem.clone(), repository: stem };
    ec2.publish(disk, &wishes, &command.report)
}

impl Ec2 {
    /// Publishes, and tells the results. One region's failure is reported at the end.
    pub(crate) fn publish(&self, disk: Disk<'_>, wishes: &Wishes<'_>, report: &Report) -> Result<()> {
        let order = order(disk, wishes)?;
        let words = on_interrupt(|| {
            // A terminal that went away is no reason to go on.
            let _ = writeln!(
                std::io::stderr(),
                "builder: interrupted; what AWS has taken stays there, and the same command goes on with it (builder aws ls)"
            );
        });
        let state = Ec2::state()?;
        let results = self.runtime.block_on(aws::publish(&self.account, &self.regions, &order, &state, &self.teller()));
        drop(words);
        let results: Vec<(String, Result<Published>)> = results
            .into_iter()
            .map(|(region, result)| {
                let result = result.and_then(|published| {
                    self.follow_up(&region, &published, &order.contents, wishes)
                        .with_context(|| format!("{} is published, but", published.image))?;
                    Ok(published)
                });
                (region, result)
            })
            .collect();
        self.tell(&results, report)?;
        failures(results.into_iter().map(|(region, result)| (region, result.map(|_| ()))).collect())
    }

    /// The check of its volume and of a launch, and the parameter, which is for images that passed.
    fn follow_up(&self, region: &str, published: &Published, contents: &Contents, wishes: &Wishes<'_>) -> Result<()> {
        let (session, image) = (self.account.region(region), &published.image);
        if let Some(launch) = &wishes.launch {
            let snapshot = published.snapshot.as_ref().context("AWS does not tell its snapshot")?;
            let teller = self.teller();
            let check = aws::check_volume(&session, snapshot, contents, teller.as_ref());
            let remedy = |error: anyhow::Error| {
                let remedy = if error.is::<aws::Differs>() {
                    format!("the check of its volume failed: remove it (builder aws rm {image}), and publish again")
                } else {
                    "its volume could not be checked: the same command checks it again".to_owned()
                };
                error.context(remedy)
            };
            self.runtime.block_on(check).map_err(remedy)?;
            self.verify(&session, image, launch)?;
        }
        if let Some(name) = &wishes.publishing.ssm_parameter {
            self.progress.step(format!("{region}: {name} is {image}"));
            self.runtime.block_on(aws::put_parameter(&session, name, image, self.teller().as_ref()))?;
        }
        Ok(())
    }

    /// Launches it once. On Ctrl-C the instance is terminated before this program ends.
    fn verify(&self, session: &aws::Session, image: &str, launch: &Launch) -> Result<()> {
        let (cancel, cancelled) = tokio::sync::oneshot::channel::<()>();
        let (ended, end) = std::sync::mpsc::channel::<()>();
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = interrupted.clone();
        let act = on_interrupt(move || {
            flag.store(true, Ordering::Relaxed);
            let _ = writeln!(std::io::stderr(), "builder: interrupted; wait until the check's instance is terminated");
            let _ = cancel.send(());
            // The check terminates its instance, and drops the other end.
            let _ = end.recv();
        });
        let cancelled = async {
            // An end that is gone without a word can't cancel any more.
            if cancelled.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let result = self.runtime.block_on(aws::verify(session, image, launch, cancelled, &self.teller()));
        // The program ends as soon as the other end is dropped, and this may be that an instance still runs.
        if let (true, Err(error)) = (interrupted.load(Ordering::Relaxed), &result) {
            let _ = writeln!(std::io::stderr(), "builder: {}", printable(&format!("{error:#}")));
        }
        // In this order: an interruption now waits for the other end, and holds what dropping the act waits for.
        drop(ended);
        drop(act);
        let verified = result.context("the launch check failed")?;
        let aws::Verified { instance, evidence, took } = verified;
        self.progress.step(format!("{image} was up as {instance} after {:.0} s: {evidence}", took.as_secs_f64()));
        Ok(())
    }

    fn tell(&self, results: &[(String, Result<Published>)], report: &Report) -> Result<()> {
        for (region, published) in results.iter().filter_map(|(region, result)| Some((region, result.as_ref().ok()?))) {
            let how = if published.found { "found".to_owned() } else { format!("sent {}", mebibytes(published.sent)) };
            self.progress.step(format!("done: {} in {region} ({}), {how}", published.image, published.name));
            self.progress.line(&format!(
                "To launch it: aws ec2 run-instances --region {region} --image-id {} --instance-type t3.micro",
                published.image
            ));
        }
        let several = results.len() > 1;
        if report.json {
            let regions = results.iter().map(|(region, result)| (region.clone(), Told::of(result))).collect();
            let all =
                All { regions, elapsed: self.progress.elapsed().as_secs_f64(), warnings: self.progress.warnings() };
            print(format!("{}\n", serde_json::to_string(&all).context("write the result as JSON")?).as_bytes())?;
        } else if report.quiet {
            for (region, published) in
                results.iter().filter_map(|(region, result)| Some((region, result.as_ref().ok()?)))
            {
                let line = if several { format!("{region} {}", published.image) } else { published.image.clone() };
                print(format!("{}\n", printable(&line)).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// One error of those of several regions.
pub(super) fn failures(results: Vec<(String, Result<()>)>) -> Result<()> {
    let all = results.len();
    let mut failed: Vec<(String, anyhow::Error)> =
        results.into_iter().filter_map(|(region, result)| Some((region, result.err()?))).collect();
    match failed.len() {
        0 => Ok(()),
        1 if all == 1 => Err(failed.remove(0).1),
        count => {
            let texts: Vec<String> = failed.iter().map(|(region, error)| format!("{region}: {error:#}")).collect();
            Err(anyhow!("{count} of {all} failed: {}", texts.join("; ")))
        }
    }
}

fn order(disk: Disk<'_>, wishes: &Wishes<'_>) -> Result<Order> {
    let Disk { file, blocks, provenance, source, repository } = disk;
    let blocks = blocks.into_iter().map(|(index, digest)| (index, aws::BlockDigest(digest))).collect();
    let publishing = wishes.publishing;
    Ok(Order {
        disk: Arc::new(file),
        contents: Contents::new(blocks)?,
        machine: Machine {
            architecture: architecture(provenance)?,
            swap: swap(provenance)?,
            plain_swap: provenance.options.pointer("/swap/encrypted") == Some(&serde_json::Value::Bool(false)),
            tpm: publishing.tpm,
        },
        name: publishing.name.clone(),
        source,
        repository,
        provenance: tags(provenance),
        tags: publishing.tag.iter().cloned().collect(),
        encryption: wishes.encryption.clone(),
        force: publishing.force,
    })
}

fn architecture(provenance: &Provenance) -> Result<Architecture> {
    match provenance.platform.as_str() {
        "linux/amd64" => Ok(Architecture::X86_64),
        platform if platform.starts_with("linux/arm64") => Ok(Architecture::Arm64),
        platform => bail!("EC2 has no machines for {platform}"),
    }
}

/// The second volume's size as the machine's configuration has it, GiB.
fn swap(provenance: &Provenance) -> Result<u32> {
    match provenance.options.pointer("/swap/bytes") {
        Some(bytes) => volume_size(bytes.as_u64().context("the disk's size of swap is no number of bytes")?),
        None => Ok(0),
    }
}

/// A volume's size, GiB: init takes only one for swap that has the very size it was told.
pub(crate) fn volume_size(bytes: u64) -> Result<u32> {
    let whole = bytes.is_multiple_of(1 << 30);
    ensure!(whole, "-w {}M: volumes of EC2 have whole GiB", bytes >> 20);
    let size = u32::try_from(bytes >> 30).ok().filter(|size| *size <= LARGEST_SWAP);
    size.context("-w: no volume of EC2 is that large")
}

/// What the image is made of, as far as tags hold it.
fn tags(provenance: &Provenance) -> Vec<(&'static str, String)> {
    let Provenance { builder, image, platform, kernel, init, .. } = provenance;
    vec![
        ("builder", builder.clone()),
        ("image", image.id.to_string()),
        ("manifest", image.manifest.map(|digest| digest.to_string()).unwrap_or_default()),
        ("platform", platform.clone()),
        ("kernel", kernel.release.clone()),
        ("init", init.to_string()),
    ]
}

/// The results, as --json has them.
#[derive(Debug, Serialize)]
struct All {
    regions: BTreeMap<String, Told>,
    /// Seconds.
    elapsed: f64,
    warnings: Vec<String>,
}

/// One region's.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    Published { image: String, name: String, snapshot: Option<String>, parent: Option<String>, sent: u64, found: bool },
    Failed { error: String },
}

impl Told {
    fn of(result: &Result<Published>) -> Self {
        match result {
            Ok(Published { image, name, snapshot, parent, sent, found }) => Told::Published {
                image: image.clone(),
                name: name.clone(),
                snapshot: snapshot.clone(),
                parent: parent.clone(),
                sent: *sent,
                found: *found,
            },
            Err(error) => Told::Failed { error: format!("{error:#}") },
        }
    }
}
