//! An account, and its regions: clients of the four services, without the SDK's own retries, which are ours
//! ([`crate::retry`]).

use crate::clock::Clock;
use crate::credentials::{Renewable, loader};
use crate::failure::Failure;
use crate::pace::Pace;
use crate::retry::{Patience, Timing};
use crate::transport::Transport;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_ec2::config::{IdentityCache, SharedHttpClient, StalledStreamProtectionConfig};
use aws_smithy_async::time::TimeSource;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use http_settings::Settings;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Semaphore;

/// Blocks in memory at the same time, whatever the number of regions: 64 MiB of them.
const MOST_BLOCKS_IN_MEMORY: usize = 128;

/// Where roles are assumed if no region is named: one that every account of AWS's main partition has.
const USUAL_REGION: &str = "us-east-1";

/// How an account is reached.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Proxies and certificates, for the services and for all that gives credentials.
    pub http: Settings,
    /// The region that is worked in first, where roles are assumed, too.
    pub region: Option<String>,
    /// The profile with its credentials; `None` leaves them to the SDK's default chain.
    pub profile: Option<String>,
    /// Another service than AWS; `None` leaves it to AWS_ENDPOINT_URL, and else is AWS.
    pub endpoint: Option<String>,
    /// Credentials that come from nowhere else.
    pub credentials: Option<Credentials>,
    /// How long is waited for what.
    pub timing: Timing,
}

/// An account.
#[derive(Debug, Clone)]
pub struct Account {
    config: SdkConfig,
    clock: Clock,
    credentials: Renewable,
    timing: Timing,
    memory: Arc<Semaphore>,
}

/// Who an account's credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Twelve digits.
    pub account: String,
    /// The user's or the role's name in AWS.
    pub arn: String,
}

impl Account {
    /// Reads the environment and AWS's files. Nothing is asked over the network yet, but where an SDK's provider of
    /// credentials does.
    pub async fn open(access: Access) -> Self {
        let http = SharedHttpClient::new(Transport::new(access.http));
        let clock = Clock::default();
        // Else the SDK asks the instance that it may run on.
        let region = Region::new(access.region.unwrap_or_else(|| USUAL_REGION.to_owned()));
        let credentials = match access.credentials {
            Some(given) => Renewable::fixed(given, http.clone(), clock.clone()),
            None => Renewable::new(access.profile.clone(), region.clone(), http.clone(), clock.clone()),
        };
        let mut loader = loader(access.profile.as_deref(), region, &http, &clock)
            .credentials_provider(credentials.clone())
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(&access.timing))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = access.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = loader.load().await;
        let memory = Arc::new(Semaphore::new(MOST_BLOCKS_IN_MEMORY));
        Account { config, clock, credentials, timing: access.timing, memory }
    }

    /// One of its regions.
    #[must_use]
    pub fn region(&self, name: &str) -> Session {
        let region = Region::new(name.to_owned());
        let provider = SharedCredentialsProvider::new(self.credentials.clone());
        let config = self.config.clone().into_builder().region(region).credentials_provider(provider).build();
        Session {
            region: name.to_owned(),
            ebs: aws_sdk_ebs::Client::new(&config),
            ec2: aws_sdk_ec2::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            clock: self.clock.clone(),
            credentials: self.credentials.clone(),
            timing: self.timing.clone(),
            memory: self.memory.clone(),
            pace: Arc::new(Pace::new()),
        }
    }
}

/// Only what the layer above can't see: a connection that is not made. An attempt as a whole has its time there.
fn timeouts(timing: &Timing) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(timing.connect).build()
}

/// A region of an account. Clones share the pace.
#[derive(Debug, Clone)]
pub struct Session {
    pub(crate) region: String,
    pub(crate) ebs: aws_sdk_ebs::Client,
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    sts: aws_sdk_sts::Client,
    pub(crate) clock: Clock,
    credentials: Renewable,
    pub(crate) timing: Timing,
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) pace: Arc<Pace>,
}

impl Session {
    /// The region's code.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whose credentials these are: the one call that every identity may make (STS, GetCallerIdentity).
    ///
    /// # Errors
    /// When there are none, AWS does not know them, or does not answer.
    pub async fn identity(&self) -> Result<Identity, Failure> {
        let patience = Patience::first(&self.timing);
        let answer = self.call("sts:GetCallerIdentity", patience, || self.sts.get_caller_identity().send()).await?;
        let text = |value: Option<String>| value.unwrap_or_default();
        Ok(Identity { account: text(answer.account), arn: text(answer.arn) })
    }

    /// The time as AWS has it, as far as that is known here.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Those that the next request will be signed with.
    pub(crate) async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        self.credentials.provide_credentials().await
    }

    /// Looks for others than these; false where there are none.
    pub(crate) async fn renew(&self, refused: &Credentials) -> bool {
        self.credentials.renew(refused).await
    }
}
