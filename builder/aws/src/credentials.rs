//! Credentials that are looked for anew when AWS says that they have expired: whoever renews them while an upload runs,
//! a tool or a person, need not start it again.

use crate::clock::Clock;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, future};
use aws_sdk_ec2::config::SharedHttpClient;
use aws_smithy_async::time::TimeSource;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Credentials are renewed so long before they expire: longer than a request takes.
const MARGIN: Duration = Duration::from_secs(60);
/// So long whatever gives credentials may take: a person may be asked for a code meanwhile.
const FINDING: Duration = Duration::from_secs(120);

/// The SDK's chain of providers for a profile. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Renewable(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    profile: Option<String>,
    /// Where roles are assumed; `None` where credentials were given, and are looked for nowhere.
    region: Option<Region>,
    http: SharedHttpClient,
    clock: Clock,
    /// What was found last.
    current: Mutex<Option<Credentials>>,
}

impl Renewable {
    pub(crate) fn new(profile: Option<String>, region: Region, http: SharedHttpClient, clock: Clock) -> Self {
        let region = Some(region);
        Renewable(Arc::new(Inner { profile, region, http, clock, current: Mutex::default() }))
    }

    /// Credentials that are given, and looked for nowhere.
    pub(crate) fn fixed(credentials: Credentials, http: SharedHttpClient, clock: Clock) -> Self {
        let current = Mutex::new(Some(credentials));
        Renewable(Arc::new(Inner { profile: None, region: None, http, clock, current }))
    }

    async fn current(&self) -> Result {
        let mut current = self.0.current.lock().await;
        if let Some(known) = current.as_ref().filter(|known| self.0.region.is_none() || self.is_good_for(known, MARGIN))
        {
            return Ok(known.clone());
        }
        match (self.find().await, current.as_ref()) {
            (Ok(found), _) => {
                *current = Some(found.clone());
                Ok(found)
            }
            // They are good for some seconds yet, and what gives others may be well again by then.
            (Err(_), Some(known)) if self.is_good_for(known, Duration::ZERO) => Ok(known.clone()),
            (Err(error), _) => Err(error),
        }
    }

    /// Looks for others than `refused`; false where there are none.
    pub(crate) async fn renew(&self, refused: &Credentials) -> bool {
        let mut current = self.0.current.lock().await;
        let differs = |found: &Credentials| {
            found.access_key_id() != refused.access_key_id() || found.session_token() != refused.session_token()
        };
        // Somebody else has renewed them while this request was on its way.
        if current.as_ref().is_some_and(differs) {
            return true;
        }
        match self.find().await {
            Ok(found) if differs(&found) => {
                *current = Some(found);
                true
            }
            _ => false,
        }
    }

    fn is_good_for(&self, credentials: &Credentials, time: Duration) -> bool {
        credentials.expiry().is_none_or(|expiry| self.0.clock.now() + time < expiry)
    }

    /// Asks a chain of its own: those of the SDK keep what they read of files and the environment.
    async fn find(&self) -> Result {
        let (Inner { http, clock, .. }, Some(region)) = (&*self.0, self.0.region.clone()) else {
            return Err(CredentialsError::not_loaded("no others are known than those that were given"));
        };
        let find = async {
            match &self.0.profile {
                // The SDK's chain would ask the environment first, whatever profile was named.
                Some(profile) => {
                    let settings = ProviderConfig::without_region().with_region(Some(region));
                    let settings = settings.with_http_client(http.clone()).with_time_source(clock.clone());
                    let provider = ProfileFileCredentialsProvider::builder().profile_name(profile);
                    provider.configure(&settings).build().provide_credentials().await
                }
                // The instance's metadata is the last that it asks, with a second for a connection.
                None => {
                    let config = loader(None, region, http, clock).load().await;
                    let provider = config.credentials_provider().ok_or_else(CredentialsError::not_loaded_no_source)?;
                    provider.provide_credentials().await
                }
            }
        };
        timeout(FINDING, find).await.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(FINDING)))
    }
}

impl ProvideCredentials for Renewable {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

/// Reads the environment and AWS's files, with our own region, client and clock. A loader that has no region looks for
/// one, and in the end asks the instance that it may run on.
pub(crate) fn loader(profile: Option<&str>, region: Region, http: &SharedHttpClient, clock: &Clock) -> ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::latest()).region(region);
    let loader = loader.http_client(http.clone()).time_source(clock.clone());
    match profile {
        Some(profile) => loader.profile_name(profile),
        None => loader,
    }
}
