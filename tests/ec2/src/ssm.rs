//! SSM: PutParameter and GetParameter. JSON 1.1.

use crate::http::Response;
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::state::{Parameter, Tags};
use serde_json::{Value, json};

/// Bytes of a standard parameter's value.
const MAX_VALUE: usize = 4096;

pub(crate) fn perform(action: &str, call: &Call<'_>) -> Outcome {
    let body: Value = serde_json::from_slice(call.body)
        .map_err(|_| Refusal::new(400, "SerializationException", "The body is no JSON."))?;
    match action {
        "PutParameter" => put(call, &body),
        "GetParameter" => get(call, &body),
        _ => Err(Refusal::new(400, "UnknownOperationException", "")),
    }
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "ValidationException", message)
}

fn name_of(body: &Value) -> Result<&str, Refusal> {
    let name = body["Name"].as_str().unwrap_or("");
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    if name.is_empty() || name.len() > 1011 || !name.bytes().all(allowed) {
        let message = format!("Parameter name: can't be empty, and has only letters, digits and .-_/: '{name}'");
        return Err(refused(message));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(refused("Parameter name must be a fully qualified name."));
    }
    let root = name.trim_start_matches('/').to_ascii_lowercase();
    if root.starts_with("aws") || root.starts_with("ssm") {
        return Err(Refusal::new(
            400,
            "AccessDeniedException",
            format!("No access to reserved parameter name: {name}."),
        ));
    }
    Ok(name)
}

fn put(call: &Call<'_>, body: &Value) -> Outcome {
    let name = name_of(body)?;
    let value = body["Value"].as_str().filter(|value| !value.is_empty()).ok_or_else(|| refused("Value is missing"))?;
    if value.len() > MAX_VALUE {
        return Err(refused("Standard tier parameters support a maximum parameter value of 4096 characters."));
    }
    let (kind, overwrite) = (body["Type"].as_str(), body["Overwrite"].as_bool().unwrap_or(false));
    if kind.is_some_and(|kind| !["String", "StringList", "SecureString"].contains(&kind)) {
        return Err(Refusal::new(400, "UnsupportedParameterType", "The parameter type is not supported."));
    }
    let data_type = body["DataType"].as_str().unwrap_or("text");
    let image = value.strip_prefix("ami-").is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match data_type {
        "text" => {}
        "aws:ec2:image" if image => {}
        _ => return Err(refused(format!("The value does not fit the data type {data_type}."))),
    }
    let mut tags = Tags::new();
    for tag in body["Tags"].as_array().map_or(&[][..], Vec::as_slice) {
        let (key, value) = (tag["Key"].as_str().unwrap_or(""), tag["Value"].as_str().unwrap_or(""));
        crate::tags::check(key, value).map_err(refused)?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    if overwrite && !tags.is_empty() {
        return Err(refused("Invalid request: tags and overwrite can't be used together."));
    }
    let mut world = call.world();
    let parameters = &mut world.region(call.region()).parameters;
    let key = (call.account().to_owned(), name.to_owned());
    let old = parameters.get(&key).cloned();
    if old.is_some() && !overwrite {
        let message = "The parameter already exists. To overwrite this value, set the overwrite option in the request \
                       to true.";
        return Err(Refusal::new(400, "ParameterAlreadyExists", message));
    }
    let kind = kind.map(str::to_owned).or_else(|| Some(old.as_ref()?.kind.clone()));
    let parameter = Parameter {
        owner: call.account().to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
        kind: kind.ok_or_else(|| refused("A parameter type is required when you create a parameter."))?,
        data_type: data_type.to_owned(),
        version: old.as_ref().map_or(1, |old| old.version + 1),
        description: body["Description"].as_str().unwrap_or("").to_owned(),
        tags: old.map_or(tags, |old| old.tags),
    };
    let answer = json!({ "Version": parameter.version, "Tier": "Standard" });
    parameters.insert(key, parameter);
    Ok(Response::json(200, &answer))
}

fn get(call: &Call<'_>, body: &Value) -> Outcome {
    let name = name_of(body)?;
    let mut world = call.world();
    let key = (call.account().to_owned(), name.to_owned());
    let missing = || Refusal::new(400, "ParameterNotFound", "");
    let parameter = world.region(call.region()).parameters.get(&key).ok_or_else(missing)?;
    let arn = format!("arn:aws:ssm:{}:{}:parameter/{}", call.region(), call.account(), name.trim_start_matches('/'));
    let answer = json!({ "Parameter": {
        "Name": parameter.name,
        "Value": parameter.value,
        "Type": parameter.kind,
        "DataType": parameter.data_type,
        "Version": parameter.version,
        "ARN": arn,
    }});
    Ok(Response::json(200, &answer))
}
