//! `builder promote`: copies an image to other regions, and shares it with other accounts.

use super::Ec2;
use super::publish::{encryption, failures};
use crate::cli::ec2::Promote;
use crate::commands::report::print;
use anyhow::{Context, Result, ensure};
use aws::{Promoted, Promotion, Target};
use builder::progress::Progress;
use serde::Serialize;

/// One target's result, as --json has it.
#[derive(Debug, Serialize)]
struct Told<'a> {
    to: String,
    image: Option<&'a str>,
    region: Option<&'a str>,
    found: Option<bool>,
    error: Option<String>,
}

impl<'a> Told<'a> {
    fn of((target, result): &'a (Target, Result<Promoted>)) -> Self {
        let promoted = result.as_ref().ok();
        Told {
            to: target.to_string(),
            image: promoted.map(|promoted| promoted.image.as_str()),
            region: promoted.map(|promoted| promoted.region.as_str()),
            found: promoted.map(|promoted| promoted.found),
            error: result.as_ref().err().map(|error| format!("{error:#}")),
        }
    }
}

/// Promotes to all targets; one target's failure is told at the end.
pub(crate) fn promote(command: &Promote, progress: &Progress) -> Result<()> {
    let targets = command.to.iter().map(|to| to.parse::<Target>().with_context(|| format!("--to {to}")));
    let targets = targets.collect::<Result<Vec<_>>>()?;
    ensure!(command.access.region.len() <= 1, "-r: an image lies in one region, and two are named");
    if let Some(name) = &command.ssm_parameter {
        aws::check_parameter_name(name).with_context(|| format!("--ssm-parameter {name}"))?;
    }
    let encryption = encryption(command.encrypted, command.kms_key.as_deref())?;
    let ec2 = Ec2::of(&command.access, false, progress)?;
    let session = ec2.sessions().into_iter().next().context("no region")?;
    let promotion = Promotion { image: command.image.clone(), to: targets, encryption };
    let results = ec2.runtime.block_on(aws::promote(&ec2.account, &session, &promotion, &ec2.teller()))?;

    let results: Vec<(Target, Result<Promoted>)> =
        results.into_iter().map(|(target, result)| (target, ec2.name(result, command))).collect();
    for (target, promoted) in results.iter().filter_map(|(target, result)| Some((target, result.as_ref().ok()?))) {
        let how = if promoted.found { "there already" } else { "done" };
        progress.step(format!("{how}: {} in {} for {target}", promoted.image, promoted.region));
        if command.report.quiet {
            print(format!("{}\n", promoted.image).as_bytes())?;
        }
    }
    if command.report.json {
        let told: Vec<Told<'_>> = results.iter().map(Told::of).collect();
        print(format!("{}\n", serde_json::to_string(&told).context("write the result as JSON")?).as_bytes())?;
    }
    failures(results.into_iter().map(|(target, result)| (target.to_string(), result.map(|_| ()))).collect())
}

impl Ec2 {
    /// The parameter of an image that was promoted.
    fn name(&self, result: Result<Promoted>, command: &Promote) -> Result<Promoted> {
        let promoted = result?;
        if let Some(name) = &command.ssm_parameter {
            let session = self.account.region(&promoted.region);
            let teller = self.teller();
            let put = aws::put_parameter(&session, name, &promoted.image, teller.as_ref());
            self.runtime.block_on(put).with_context(|| format!("{} is there, but", promoted.image))?;
        }
        Ok(promoted)
    }
}
