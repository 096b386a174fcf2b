//! What is done at AWS: the account, and what its commands have in common.

pub(crate) mod inventory;
pub(crate) mod promote;
pub(crate) mod publish;
mod teller;

use crate::cli::ec2::AccessArgs;
use anyhow::{Context, Result, anyhow, bail, ensure};
use aws::{Access, Session};
use builder::cache;
use builder::destination::{self, Destination, Surroundings, Wanted};
use builder::progress::Progress;
use std::sync::Arc;
use teller::Teller;
use tokio::runtime::Runtime;

/// Threads that send blocks: encryption and checksums take a processor some hundred of them a second.
const THREADS: usize = 4;
/// A region that every account of AWS's main partition has.
const ALWAYS_THERE: &str = "us-east-1";

/// An account that answers, and the regions that are meant.
pub(crate) struct Ec2 {
    runtime: Runtime,
    account: aws::Account,
    regions: Vec<String>,
    progress: Progress,
}

impl Ec2 {
    /// Asks AWS whose the credentials are, before any work.
    pub(crate) fn open(target: destination::Account, all_regions: bool, progress: &Progress) -> Result<Self> {
        check_endpoints()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
        let runtime = runtime.context("start the threads that talk to AWS")?;
        let http = http_settings::Settings::of_process();
        let http = match &target.authorities {
            Some(file) => http.trusting_only(file)?,
            None => http,
        };
        let region = target.regions.first().map(ToString::to_string);
        let access = Access { http, region, profile: target.profile, ..Access::default() };
        let account = runtime.block_on(aws::Account::open(access));
        let mut regions: Vec<String> = target.regions.iter().map(ToString::to_string).collect();
        let first = account.region(regions.first().context("no region")?);
        let identity = runtime.block_on(first.identity()).map_err(|failure| unreached(&first, failure))?;
        if all_regions {
            regions = runtime.block_on(aws::regions(&first))?;
            ensure!(!regions.is_empty(), "--all-regions: AWS tells of none that is enabled for this account");
        } else {
            runtime.block_on(check_regions(&account, &regions))?;
        }
        progress.step(format!("account {} as {}, in {}", identity.account, identity.arn, regions.join(", ")));
        Ok(Ec2 { runtime, account, regions, progress: progress.clone() })
    }

    /// As the commands that do nothing but talk to AWS name an account.
    pub(crate) fn of(access: &AccessArgs, all_regions: bool, progress: &Progress) -> Result<Self> {
        Ec2::open(account(access)?, all_regions, progress)
    }

    fn sessions(&self) -> Vec<Session> {
        self.regions.iter().map(|region| self.account.region(region)).collect()
    }

    fn teller(&self) -> Arc<dyn aws::Report> {
        Arc::new(Teller(self.progress.clone()))
    }

    /// What is kept between two runs.
    fn state() -> Result<aws::State> {
        aws::State::open(&cache::directory()?.join("aws"))
    }
}

/// The account that is meant where nothing else can be.
fn account(access: &AccessArgs) -> Result<destination::Account> {
    let (regions, profile) = (&access.region[..], access.profile.as_deref());
    let wanted = Wanted { file: false, quiet: false, ec2: true, regions, profile };
    match destination::find(&wanted, &Surroundings::of_process())? {
        Destination::Ec2(account) => Ok(account),
        Destination::Disk => bail!("there are no AWS credentials"),
    }
}

/// Tells of a name that is no region's, as far as that can be learned: not being allowed to ask is no reason to stop.
async fn check_regions(account: &aws::Account, regions: &[String]) -> Result<()> {
    // The first one may be the one that is none.
    for asked in regions.iter().map(String::as_str).take(1).chain([ALWAYS_THERE]) {
        match aws::check_regions(&account.region(asked), regions).await {
            Err(error) if error.is::<aws::Failure>() => {}
            told => return told,
        }
    }
    Ok(())
}

/// A name that is no region's has no address either.
fn unreached(session: &Session, failure: aws::Failure) -> anyhow::Error {
    match failure.kind {
        aws::Kind::Unreachable => {
            anyhow!("{failure}: is {} a region of AWS, and does this machine reach it?", session.region())
        }
        _ => failure.into(),
    }
}

/// The SDK takes another service's address from the environment, and panics where it is none.
fn check_endpoints() -> Result<()> {
    for name in
        ["", "_EC2", "_EBS", "_STS", "_SSM", "_SSO", "_SSO_OIDC"].map(|service| format!("AWS_ENDPOINT_URL{service}"))
    {
        let Some(value) = std::env::var_os(&name) else { continue };
        let url = value.to_str().and_then(|url| url.parse::<reqwest::Url>().ok());
        let fits = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        ensure!(
            fits,
            "{name}={}: this is no address of a service, such as http://127.0.0.1:4566; unset it for AWS itself",
            http_settings::without_credentials(&value.to_string_lossy())
        );
    }
    Ok(())
}
