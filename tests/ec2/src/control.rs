//! For shell scripts: `GET /_tally`, `POST /_faults`, `GET /_volume/REGION/SNAPSHOT`, `POST /_advance/SECONDS`.

use crate::faults::{Burst, Effect, Fault, Faults, Kind, Moment, Unseen};
use crate::http::{Content, Head, Response};
use crate::server::Shared;
use crate::trouble::Trouble;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// Bytes of a volume at most in one answer. Larger ones are for [`crate::StandIn::block`].
const MAX_VOLUME: usize = 2 << 30;

pub(crate) fn answer(shared: &Shared, head: &Head, body: &[u8]) -> Response {
    let segments: Vec<_> = head.path.split('/').skip(1).collect();
    match (head.method.as_str(), segments.as_slice()) {
        ("GET", ["_tally"]) => Response::json(200, &tally(shared)),
        ("POST", ["_tally"]) => {
            shared.counting().reset();
            Response::json(200, &json!({}))
        }
        ("POST", ["_faults"]) => match faults(body) {
            Ok(faults) => {
                *shared.trouble() = Trouble::new(faults);
                Response::json(200, &json!({}))
            }
            Err(error) => text(400, format!("{error:#}\n")),
        },
        ("POST", ["_advance", seconds]) => match seconds.parse() {
            Ok(seconds) => {
                shared.world().advanced += Duration::from_secs(seconds);
                Response::json(200, &json!({}))
            }
            Err(error) => text(400, format!("{error}\n")),
        },
        ("GET", ["_volume", region, id]) => volume(shared, region, id),
        _ => text(404, "GET /_tally, POST /_tally /_faults /_advance/SECONDS, GET /_volume/REGION/SNAPSHOT\n".into()),
    }
}

fn text(status: u16, text: String) -> Response {
    Response::new(status, Content::Owned(text.into_bytes())).header("Content-Type", "text/plain")
}

fn tally(shared: &Shared) -> Value {
    let tally = shared.counting().tally.clone();
    json!({
        "requests": tally.requests,
        "refused": tally.refused,
        "errors": tally.errors,
        "resets": tally.resets,
        "block_bytes": tally.block_bytes,
        "most_in_flight": tally.most_in_flight,
        "most_puts_in_flight": tally.most_puts_in_flight,
        "connections": tally.connections,
    })
}

fn volume(shared: &Shared, region: &str, id: &str) -> Response {
    let snapshot = shared.world().region(region).snapshots.get(id).cloned();
    let Some(snapshot) = snapshot else { return text(404, format!("no snapshot {id} in {region}\n")) };
    let end = snapshot.all_written().keys().next_back().map_or(0, |last| last + 1);
    if end as usize * crate::BLOCK > MAX_VOLUME {
        return text(400, format!("{end} blocks are too much for one answer\n"));
    }
    let mut bytes = Vec::with_capacity(end as usize * crate::BLOCK);
    for index in 0..end {
        bytes.extend(snapshot.read(index));
    }
    Response::new(200, Content::Owned(bytes)).header("Content-Type", "application/octet-stream")
}

/// Faults out of JSON: the fields of [`Faults`] by their names, and `faults` as in [`fault`].
fn faults(body: &[u8]) -> Result<Faults> {
    let body: Value = serde_json::from_slice(body).context("parse the faults")?;
    let mut faults = Faults::default();
    for (name, value) in body.as_object().context("the faults are no object")? {
        let count = || value.as_u64().with_context(|| format!("{name} is no count: {value}"));
        let small = || Ok::<_, anyhow::Error>(u32::try_from(count()?)?);
        let probability = || value.as_f64().with_context(|| format!("{name} is no probability: {value}"));
        match name.as_str() {
            "seed" => faults.seed = count()?,
            "clock_skew" => faults.clock_skew = value.as_i64().context("clock_skew is no number")?,
            "refused_checksums" => faults.refused_checksums = small()?,
            "unseen_images" => faults.unseen_images = small()?,
            "start_limit" => faults.start_limit = small()?,
            "failing_completions" => faults.failing_completions = small()?,
            "lost_parents" => faults.lost_parents = small()?,
            "failing_copies" => faults.failing_copies = small()?,
            "failing_images" => faults.failing_images = small()?,
            "flapping_pending" => faults.flapping_pending = probability()?,
            "flapping_missing" => faults.flapping_missing = probability()?,
            "corrupt_reads" => faults.corrupt_reads = probability()?,
            "crash_after_puts" => faults.crash_after_puts = Some(count()?),
            "unseen_snapshots_ms" => faults.unseen_snapshots = Some(Unseen::For(Duration::from_millis(count()?))),
            "unseen_snapshots_requests" => faults.unseen_snapshots = Some(Unseen::Requests(small()?)),
            "expired" => {
                for (credential, requests) in value.as_object().context("expired is no object")? {
                    faults.expired.insert(credential.clone(), requests.as_u64().context("expired takes counts")?);
                }
            }
            "faults" => {
                faults.faults =
                    value.as_array().context("faults is no list")?.iter().map(fault).collect::<Result<_>>()?;
            }
            "bursts" => {
                faults.bursts =
                    value.as_array().context("bursts is no list")?.iter().map(burst).collect::<Result<_>>()?;
            }
            other => bail!("no fault is named {other}"),
        }
    }
    Ok(faults)
}

fn burst(value: &Value) -> Result<Burst> {
    let number = |name: &str| {
        value[name].as_u64().and_then(|n| u32::try_from(n).ok()).with_context(|| format!("{name} of {value}"))
    };
    let actions = value["actions"].as_str().unwrap_or("*").to_owned();
    Ok(Burst { actions, answers: number("answers")?, every: number("every")? })
}

/// `{"actions": "Put*", "kind": "error", "status": 500, "effect": true, "probability": 0.1, "times": 3}`; the kinds are
/// error, throttled, denied, unread, reset and stall (with `moment`, and `ms` for a stall).
fn fault(value: &Value) -> Result<Fault> {
    let status = value["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(500);
    let effect = if value["effect"].as_bool() == Some(true) { Effect::Taken } else { Effect::None };
    let time = Duration::from_millis(value["ms"].as_u64().unwrap_or(0));
    let kind = match value["kind"].as_str().unwrap_or("") {
        "error" => Kind::Error(status, effect),
        "throttled" => Kind::Throttled,
        "denied" => Kind::Denied,
        "unread" => Kind::Unread,
        "reset" => Kind::Reset(moment(value)?),
        "stall" => Kind::Stall(moment(value)?, time),
        _ => bail!("{value} has no known kind"),
    };
    let times = value["times"].as_u64().map(u32::try_from).transpose().context("times")?;
    let actions = value["actions"].as_str().context("a fault without actions")?.to_owned();
    Ok(Fault { actions, kind, probability: value["probability"].as_f64().unwrap_or(1.0), times })
}

fn moment(value: &Value) -> Result<Moment> {
    Ok(match value["moment"].as_str().unwrap_or("") {
        "before-body" => Moment::BeforeBody,
        "mid-body" => Moment::MidBody,
        "before-answer" => Moment::BeforeAnswer,
        "mid-answer" => Moment::MidAnswer,
        _ => bail!("{value} has no known moment: before-body, mid-body, before-answer, mid-answer"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_json() {
        let text = br#"{"seed": 7, "clock_skew": -60, "unseen_snapshots_requests": 2, "expired": {"key": 3},
            "bursts": [{"actions": "Put*", "answers": 1, "every": 9}],
            "faults": [{"actions": "Put*", "kind": "reset", "moment": "mid-answer", "probability": 0.5, "times": 4},
                       {"actions": "*", "kind": "error", "status": 503, "effect": true}]}"#;
        let read = faults(text).unwrap();
        let reset = Fault::new("Put*", Kind::Reset(Moment::MidAnswer)).probability(0.5).times(4);
        let error = Fault::new("*", Kind::Error(503, Effect::Taken));
        assert_eq!(read.faults, [reset, error]);
        assert_eq!((read.seed, read.clock_skew, read.expired["key"]), (7, -60, 3));
        assert_eq!(read.unseen_snapshots, Some(Unseen::Requests(2)));
    }

    #[test]
    fn what_is_no_fault_is_an_error() {
        for wrong in ["", "[]", r#"{"x": 1}"#, r#"{"seed": -1}"#, r#"{"faults": [{"actions": "*"}]}"#] {
            assert!(faults(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
