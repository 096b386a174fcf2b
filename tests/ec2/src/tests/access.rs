//! Signatures, accounts, regions, malformed requests.

use super::client::{Lab, REGION, read_answer};
use crate::{ACCOUNT, Fault, Faults, Kind, OTHER_ACCOUNT};
use serde_json::json;
use std::io::{BufReader, Write};
use std::net::TcpStream;

fn whoami(lab: &Lab) -> super::client::Answer {
    lab.send("sts", "POST /", "", b"Action=GetCallerIdentity&Version=2011-06-15").unwrap()
}

#[test]
fn each_access_key_has_its_account() {
    let mut lab = Lab::new();
    let answer = whoami(&lab).accepted();
    assert_eq!(answer.element("Account").as_deref(), Some(ACCOUNT));
    assert_eq!(answer.element("Arn").unwrap(), format!("arn:aws:iam::{ACCOUNT}:user/builder"));
    lab.key = "AKIAOTHERACCOUNTKEY0";
    assert_eq!(whoami(&lab).element("Account").as_deref(), Some(OTHER_ACCOUNT));
}

#[test]
fn requests_without_a_signature_are_refused() {
    let lab = Lab::new();
    let answer = lab.raw(b"POST /snapshots HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    answer.refused(403, "MissingAuthenticationTokenException", "Token");
    let body = "Action=DescribeImages&Version=2016-11-15";
    let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    let answer = lab.raw(format!("{head}\r\n{body}").as_bytes()).unwrap();
    answer.refused(403, "MissingAuthenticationToken", "Token");
    let answer = lab.raw(format!("{head}Authorization: Bearer x\r\n\r\n{body}").as_bytes()).unwrap();
    answer.refused(400, "IncompleteSignature", "Credential");
}

#[test]
fn unknown_keys_are_refused_as_each_service_does() {
    let mut lab = Lab::new();
    lab.key = "AKIAUNKNOWN";
    lab.start(&json!({})).refused(403, "UnrecognizedClientException", "security token");
    lab.ec2("DescribeImages", &[]).refused(401, "AuthFailure", "not able to validate");
    whoami(&lab).refused(403, "InvalidClientTokenId", "security token");
    lab.ssm("GetParameter", &json!({ "Name": "x" })).refused(400, "UnrecognizedClientException", "security token");
}

#[test]
fn a_region_that_is_not_opted_in_knows_no_credentials() {
    let mut lab = Lab::new();
    for region in ["me-south-1", "xx-nowhere-1"] {
        lab.region = region;
        lab.ec2("DescribeImages", &[]).refused(401, "AuthFailure", "");
        lab.start(&json!({})).refused(403, "UnrecognizedClientException", "");
    }
}

#[test]
fn a_signature_for_another_service_is_refused() {
    let lab = Lab::new();
    let answer = lab.send("ec2", "POST /snapshots", "", b"{}").unwrap();
    answer.refused(403, "InvalidSignatureException", "correct service: 'ebs'");
}

#[test]
fn a_date_that_is_five_minutes_off_is_refused() {
    let mut lab = Lab::new();
    lab.skew = -400;
    lab.start(&json!({})).refused(403, "InvalidSignatureException", "Signature expired: 2");
    lab.ec2("DescribeImages", &[]).refused(400, "RequestExpired", "Request has expired.");
    lab.skew = 400;
    lab.start(&json!({})).refused(403, "InvalidSignatureException", "Signature not yet current: 2");
    lab.ec2("DescribeImages", &[]).refused(401, "AuthFailure", "");
    whoami(&lab).refused(403, "SignatureDoesNotMatch", "not yet current");
    // The server's clock is wrong by as much: now they agree, and `Date` tells so.
    lab.stand_in.set_faults(Faults { clock_skew: 400, ..Faults::default() });
    assert!(whoami(&lab).accepted().header("Date").unwrap().ends_with("GMT"));
}

#[test]
fn credentials_expire_after_so_many_requests() {
    let mut lab = Lab::new();
    lab.token = Some("session");
    let expired = [("session".to_owned(), 2)].into();
    lab.stand_in.set_faults(Faults { expired, ..Faults::default() });
    whoami(&lab).accepted();
    whoami(&lab).accepted();
    whoami(&lab).refused(403, "ExpiredToken", "expired");
    lab.start(&json!({ "VolumeSize": 1 })).refused(403, "ExpiredTokenException", "expired");
    lab.ec2("DescribeImages", &[]).refused(400, "RequestExpired", "");
    lab.ssm("GetParameter", &json!({ "Name": "x" })).refused(400, "ExpiredTokenException", "expired");
    lab.token = Some("new session");
    whoami(&lab).accepted();
}

#[test]
fn denied_actions_say_who_and_what() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    lab.stand_in.set_faults(Faults::of([Fault::new("*", Kind::Denied)]));
    let who = format!("User: arn:aws:iam::{ACCOUNT}:user/builder is not authorized to perform");
    lab.ec2("RegisterImage", &[]).refused(
        403,
        "UnauthorizedOperation",
        &format!(
            "You are not authorized to perform this operation. {who}: ec2:RegisterImage because no identity-based \
             policy allows the ec2:RegisterImage action"
        ),
    );
    let resource = format!("{who}: ebs:PutSnapshotBlock on resource: arn:aws:ec2:{REGION}::snapshot/{snapshot}");
    lab.put(&snapshot, 0, 1).refused(403, "AccessDeniedException", &resource);
    assert!(lab.stand_in.snapshots(REGION)[0].blocks.is_empty());
}

#[test]
fn what_is_no_http_gets_400_and_the_server_lives() {
    let lab = Lab::new();
    for wrong in [
        &b"\x16\x03\x01\x02\x00\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"PUT /snapshots/x/blocks/0 HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT /snapshots/x/blocks/0 HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"PUT /snapshots/x/blocks/0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        assert_eq!(lab.raw(wrong).unwrap().status, 400);
    }
    lab.ebs("PATCH /snapshots/%ff/blocks", "", b"").refused(404, "UnknownOperationException", "");
    lab.ebs("POST /snapshots", "", b"{").refused(400, "SerializationException", "");
    lab.ec2("FlyToTheMoon", &[]).refused(400, "InvalidAction", "FlyToTheMoon");
    lab.ec2("DescribeImages", &["Colour=red"]).refused(400, "UnknownParameter", "Colour");
    lab.ec2("DescribeImages", &["DryRun=true"]).refused(412, "DryRunOperation", "would have succeeded");
    assert_eq!(whoami(&lab).status, 200);
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let lab = Lab::new();
    let mut stream = TcpStream::connect(lab.stand_in.endpoint().trim_start_matches("http://")).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..3 {
        stream.write_all(b"GET /_tally HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut reader).unwrap().status, 200);
    }
    let head = "POST /_faults HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut reader).unwrap().status, 100);
    stream.write_all(b"{}").unwrap();
    assert_eq!(read_answer(&mut reader).unwrap().status, 200);
    drop(lab);
    assert!(read_answer(&mut reader).is_err(), "dropping the stand-in ends its connections");
}

#[test]
fn a_shell_reads_the_tally_and_the_volume_and_sets_faults() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    lab.put(&snapshot, 1, 7).accepted();
    let get = |path: &str| lab.raw(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    let tally = get("/_tally").json();
    assert_eq!((&tally["requests"]["PutSnapshotBlock"], &tally["block_bytes"]), (&json!(1), &json!(crate::BLOCK)));
    let volume = get(&format!("/_volume/{REGION}/{snapshot}")).body;
    assert_eq!((volume.len(), volume[0], volume[crate::BLOCK]), (2 * crate::BLOCK, 0, 7));
    assert_eq!(get(&format!("/_volume/{REGION}/snap-1")).status, 404);
    let faults = r#"{"faults": [{"actions": "Put*", "kind": "error", "status": 503}]}"#;
    let post = |body: &str| {
        let request = format!("POST /_faults HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        lab.raw(request.as_bytes()).unwrap().status
    };
    assert_eq!((post("{"), post(faults)), (400, 200));
    assert_eq!(lab.put(&snapshot, 0, 1).status, 503);
}
