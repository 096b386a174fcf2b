//! STS: GetCallerIdentity.

use crate::http::Response;
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;

pub(crate) fn perform(action: &str, call: &Call<'_>) -> Outcome {
    if action != "GetCallerIdentity" {
        let message = format!("Could not find operation {action} for version 2011-06-15");
        return Err(Refusal::new(400, "InvalidAction", message));
    }
    let (arn, account) = (call.caller.arn(), call.account());
    Ok(Response::xml(
        200,
        &format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>{arn}</Arn><UserId>AIDACKCEVSQ6C2EXAMPLE</UserId><Account>{account}</Account>\
             </GetCallerIdentityResult><ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>\
             </ResponseMetadata></GetCallerIdentityResponse>"
        ),
    ))
}
