//! Exchanges an identity token for one that a registry takes (Docker Registry, "Token Authentication with OAuth2").

use anyhow::{Context, Result, bail};
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    access_token: String,
}

/// The token for pulling from a repository, or `None` where the registry asks for no token.
///
/// # Errors
/// When the registry or its token service does not answer, or refuses.
pub(super) async fn exchange(
    http: &reqwest::Client,
    base: &str,
    repository: &str,
    identity: &str,
) -> Result<Option<String>> {
    let ping = http.get(format!("{base}/v2/")).send().await.map_err(anyhow::Error::new)?;
    let challenge = ping.headers().get_all(reqwest::header::WWW_AUTHENTICATE);
    let Some(challenge) = challenge.iter().filter_map(|value| value.to_str().ok()).find_map(Challenge::parse) else {
        return Ok(None);
    };
    let form = [
        ("grant_type", "refresh_token"),
        ("service", &challenge.service),
        ("client_id", "nanoos-builder"),
        ("scope", &format!("repository:{repository}:pull")),
        ("refresh_token", identity),
    ];
    let answer = http.post(&challenge.realm).form(&form).send().await;
    let answer = answer.with_context(|| format!("ask {} for a token", challenge.realm))?;
    if !answer.status().is_success() {
        bail!("{} refuses the identity token ({})", challenge.realm, answer.status());
    }
    let body = answer.bytes().await.context("read the token service's answer")?;
    // What it answers is a secret: a message must not show it.
    let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
        bail!("{} answers without an access_token", challenge.realm);
    };
    Ok(Some(answer.access_token))
}

/// `Bearer realm="…",service="…"` (RFC 6750, section 3).
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: String,
}

impl Challenge {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut challenge = Challenge { realm: String::new(), service: String::new() };
        while let Some((name, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"')?;
            match name.trim_start_matches([',', ' ']) {
                "realm" => value.clone_into(&mut challenge.realm),
                "service" => value.clone_into(&mut challenge.service),
                _ => {}
            }
            rest = after;
        }
        (!challenge.realm.is_empty()).then_some(challenge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_whatever_its_order() {
        let challenge = Challenge::parse(r#"Bearer service="s,1", realm="https://t/x?y=1",scope="a"#);
        assert_eq!(challenge, None, "it breaks off");
        let challenge = Challenge::parse(r#"bearer service="s,1", realm="https://t/x?y=1",scope="a""#).unwrap();
        assert_eq!((challenge.realm.as_str(), challenge.service.as_str()), ("https://t/x?y=1", "s,1"));
        assert_eq!(Challenge::parse(r#"Basic realm="r""#), None);
        assert_eq!(Challenge::parse(r#"Bearer service="s""#), None);
    }
}
