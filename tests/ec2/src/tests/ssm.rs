//! PutParameter and GetParameter.

use super::client::{Lab, REGION};
use serde_json::{Value, json};

fn put(lab: &Lab, more: (&str, Value)) -> super::client::Answer {
    let mut body = json!({ "Name": "/app/ami", "Value": "ami-0123456789abcdef0", "Type": "String" });
    body[more.0] = more.1;
    lab.ssm("PutParameter", &body)
}

#[test]
fn a_parameter_is_put_overwritten_and_read() {
    let lab = Lab::new();
    let image = ("DataType", json!("aws:ec2:image"));
    assert_eq!(put(&lab, image.clone()).accepted().json()["Version"], 1);
    put(&lab, image).refused(400, "ParameterAlreadyExists", "already exists");
    assert_eq!(put(&lab, ("Overwrite", json!(true))).accepted().json()["Version"], 2);
    let told = lab.ssm("GetParameter", &json!({ "Name": "/app/ami" })).accepted().json();
    assert_eq!(told["Parameter"]["Value"], "ami-0123456789abcdef0");
    assert_eq!(lab.stand_in.parameters(REGION)[0].version, 2);
}

#[test]
fn wrong_parameters_are_refused() {
    let mut lab = Lab::new();
    for (name, value, code) in [
        ("Name", json!("a b"), "ValidationException"),
        ("Name", json!("a/b"), "ValidationException"),
        ("Name", json!("/aws/x"), "AccessDeniedException"),
        ("Value", json!(""), "ValidationException"),
        ("Value", json!("x".repeat(4097)), "ValidationException"),
        ("Type", json!("Number"), "UnsupportedParameterType"),
        ("Type", Value::Null, "ValidationException"),
        ("DataType", json!("colour"), "ValidationException"),
        ("Tags", json!([{ "Key": "aws:x", "Value": "" }]), "ValidationException"),
    ] {
        put(&lab, (name, value)).refused(400, code, "");
    }
    let both = json!({ "Name": "a", "Value": "b", "Type": "String", "Overwrite": true, "Tags": [{ "Key": "k" }] });
    lab.ssm("PutParameter", &both).refused(400, "ValidationException", "together");
    let image = json!({ "Name": "a", "Value": "vol-1", "Type": "String", "DataType": "aws:ec2:image" });
    lab.ssm("PutParameter", &image).refused(400, "ValidationException", "data type");
    lab.ssm("DeleteParameter", &json!({})).refused(400, "UnknownOperationException", "");
    put(&lab, ("Description", json!("d"))).accepted();
    lab.key = "AKIAOTHERACCOUNTKEY0";
    lab.ssm("GetParameter", &json!({ "Name": "/app/ami" })).refused(400, "ParameterNotFound", "");
}
