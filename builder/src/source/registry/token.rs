//! What a registry wants to see with each request: a password, or a token of its token service for it (Docker Registry,
//! "Token Authentication Specification" and "Token Authentication with OAuth2").

use super::client::{Clients, RequestError, first_line};
use crate::bounded::{COMPLAINT, TOKEN};
use crate::source::credentials::Login;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_auth::parser::ChallengeParser;
use http_settings::is_loopback;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use serde::Deserialize;

/// What this program calls itself towards token services.
const CLIENT_ID: &str = "nanoos-builder";

/// Where to ask, and for what.
#[derive(Clone, Copy)]
pub(super) struct Authorization<'a> {
    pub(super) http: &'a Clients,
    /// `https://HOST`.
    pub(super) base: &'a str,
    pub(super) repository: &'a str,
}

impl Authorization<'_> {
    /// The header that requests are to carry; `None` where the registry asks for nothing, or nothing is known that it takes.
    pub(super) async fn header(self, login: &Login) -> Result<Option<HeaderValue>, RequestError> {
        if let Login::Token(token) = login {
            return Ok(header("Bearer", token));
        }
        let ping = self.http.registry.get(format!("{}/v2/", self.base)).send().await?;
        match (Challenge::of(ping.headers()), login) {
            (Some(Challenge::Bearer { realm, service }), login) => {
                let token = self.token(&realm, service.as_deref(), login).await?;
                Ok(header("Bearer", &token))
            }
            (Some(Challenge::Basic), Login::Password(user, password)) => {
                Ok(header("Basic", &STANDARD.encode(format!("{user}:{password}"))))
            }
            _ => Ok(None),
        }
    }

    /// What a token service is asked with. A registry that is spoken to in TLS names no other way for what is secret.
    fn client_for(&self, realm: &str, login: &Login) -> Result<&reqwest::Client, RequestError> {
        let (here, by_tls, anonymous) = (is_here(realm), realm.starts_with("https://"), *login == Login::Anonymous);
        if self.base.starts_with("https://") && !by_tls && !here && !anonymous {
            return Err(RequestError::Withheld(format!("{realm} does not speak TLS")));
        }
        Ok(match (anonymous, here && is_here(self.base)) {
            (true, true) => &self.http.registry,
            (true, false) => &self.http.anonymous,
            (false, true) => &self.http.tokens_here,
            (false, false) => &self.http.tokens,
        })
    }

    async fn token(self, realm: &str, service: Option<&str>, login: &Login) -> Result<String, RequestError> {
        let http = self.client_for(realm, login)?;
        self.http.settings.proxy_of(realm)?;
        let scope = format!("repository:{}:pull", self.repository);
        let mut fields = vec![("scope", scope.as_str())];
        fields.extend(service.map(|service| ("service", service)));
        let request = match login {
            Login::Identity(identity) => {
                fields.extend([("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", identity)]);
                http.post(realm).form(&fields)
            }
            Login::Password(user, password) => http.get(realm).query(&fields).basic_auth(user, Some(password)),
            Login::Anonymous | Login::Token(_) => http.get(realm).query(&fields),
        };
        let answer = request.send().await?;
        if !answer.status().is_success() {
            return Err(refused(realm, login, answer).await);
        }
        let token = Token::parse(&TOKEN.body(answer).await?);
        token.ok_or_else(|| RequestError::NoToken(realm.to_owned()))
    }
}

/// Whether a URL's host is this machine.
fn is_here(url: &str) -> bool {
    let host = url.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| is_loopback(&host))
}

async fn refused(realm: &str, login: &Login, answer: Response) -> RequestError {
    let status = answer.status();
    if status.is_redirection() && *login != Login::Anonymous {
        return RequestError::Withheld(format!("{realm} leads elsewhere ({status})"));
    }
    // Some answer without a word, and what they say to an identity token may be anything.
    let words = match login {
        Login::Identity(_) => String::new(),
        _ => first_line(&COMPLAINT.start_of_body(answer).await),
    };
    let why = if words.is_empty() { format!("{realm} answers {status}") } else { words };
    if *login == Login::Anonymous { RequestError::Stranger(why) } else { RequestError::Credentials(why) }
}

fn header(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{scheme} {secret}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A token service's answer, in either of its forms.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Token {
    /// What it answers is a secret: no message shows it.
    fn parse(json: &[u8]) -> Option<String> {
        let Token { token, access_token } = serde_json::from_slice(json).ok()?;
        token.filter(|token| !token.is_empty()).or(access_token).filter(|token| !token.is_empty())
    }
}

/// What a registry asks for (RFC 7235, `WWW-Authenticate`).
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    /// A token that a service gives (RFC 6750, section 3).
    Bearer { realm: String, service: Option<String> },
    /// A user and a password.
    Basic,
}

impl Challenge {
    /// The first of those that can be met; a token rather than a password.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = values.flat_map(Challenge::parse).collect();
        let bearer = challenges.iter().position(|challenge| *challenge != Challenge::Basic);
        challenges.into_iter().nth(bearer.unwrap_or_default())
    }

    fn parse(header: &str) -> Vec<Self> {
        // A part that is no challenge ends the list.
        let challenges = ChallengeParser::new(header).map_while(Result::ok);
        let known = challenges.filter_map(|challenge| {
            let parameter = |wanted: &str| {
                let found = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                found.map(|(_, value)| value.to_unescaped())
            };
            match challenge.scheme.to_ascii_lowercase().as_str() {
                "bearer" => Some(Challenge::Bearer { realm: parameter("realm")?, service: parameter("service") }),
                "basic" => Some(Challenge::Basic),
                _ => None,
            }
        });
        known.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_whatever_its_order() {
        let challenge = |headers: &[&str]| {
            let mut map = HeaderMap::new();
            for header in headers {
                map.append(WWW_AUTHENTICATE, HeaderValue::from_str(header).unwrap());
            }
            Challenge::of(&map)
        };
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        assert_eq!(challenge(&[r#"Bearer service="s,1", realm="https://t/x?y=1",scope="a"#]), None, "it breaks off");
        let whole = r#"bearer service="s,1", realm="https://t/x?y=1",scope="a""#;
        assert_eq!(challenge(&[whole]), bearer("https://t/x?y=1", Some("s,1")));
        assert_eq!(challenge(&[r#"Basic realm="r""#, whole]), bearer("https://t/x?y=1", Some("s,1")));
        assert_eq!(challenge(&[r#"Basic realm="r", Bearer realm=r2"#]), bearer("r2", None));
        assert_eq!(challenge(&[r#"Negotiate, Basic realm="r""#]), Some(Challenge::Basic));
        assert_eq!(challenge(&[r#"Bearer service="s""#]), None);
        assert_eq!(challenge(&[]), None);
    }

    #[test]
    fn a_token_comes_under_either_name() {
        let token = |json: &str| Token::parse(json.as_bytes());
        assert_eq!(token(r#"{"token":"a","access_token":"b"}"#).as_deref(), Some("a"));
        assert_eq!(token(r#"{"token":"","access_token":"b"}"#).as_deref(), Some("b"));
        assert_eq!(token(r#"{"token":null}"#), None);
        assert_eq!(token("who are you?"), None);
    }
}
