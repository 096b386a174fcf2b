//! The stand-in by itself, for shell scripts.

use anyhow::{Context, Result, bail};
use ec2_stand_in::{Delay, Rules, StandIn};
use std::io::Write as _;
use std::time::Duration;

const USAGE: &str = "usage: ec2-stand-in [OPTION VALUE]...
  --port N                of 127.0.0.1; a free one without it
  --latency-ms N          added to each PutSnapshotBlock
  --bandwidth N           bytes of block data a second
  --put-quota N           PutSnapshotBlock a second (1000)
  --start-quota N         StartSnapshot and CompleteSnapshot a second (10)
  --completion N          answers of DescribeSnapshots that still tell pending (1)
  --copy N                answers of DescribeImages that still tell a copy as pending (1)
  --page N                items in one answer at most (1000)
  --encrypt-by-default R  in region R; may be given again
  --console FILE          what GetConsoleOutput tells
  --strict true|false     refuse RegisterImage's dangerous defaults (true)";

fn main() {
    if let Err(error) = run() {
        eprintln!("ec2-stand-in: {error:#}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let (mut rules, mut port) = (Rules::default(), 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        if matches!(option.as_str(), "-h" | "--help") {
            println!("{USAGE}");
            return Ok(());
        }
        let value = arguments.next().with_context(|| format!("{option} takes a value\n{USAGE}"))?;
        set(&mut rules, &mut port, &option, &value).with_context(|| format!("{option} {value}"))?;
    }
    let stand_in = StandIn::start_on(port, rules)?;
    println!("{}", stand_in.endpoint());
    std::io::stdout().flush().context("print the endpoint")?;
    // Until it is killed.
    loop {
        std::thread::park();
    }
}

fn set(rules: &mut Rules, port: &mut u16, option: &str, value: &str) -> Result<()> {
    match option {
        "--port" => *port = value.parse()?,
        "--latency-ms" => rules.put_latency = Duration::from_millis(value.parse()?),
        "--bandwidth" => rules.bandwidth = Some(value.parse()?),
        "--put-quota" => rules.quotas.put = value.parse()?,
        "--start-quota" => {
            rules.quotas.start = value.parse()?;
            rules.quotas.complete = rules.quotas.start;
        }
        "--completion" => rules.completion = Delay::Answers(value.parse()?),
        "--copy" => rules.copy = Delay::Answers(value.parse()?),
        "--page" => rules.page = value.parse()?,
        "--encrypt-by-default" => {
            rules.encryption_by_default.insert(value.to_owned());
        }
        "--console" => rules.instances.console = std::fs::read_to_string(value)?,
        "--strict" => rules.strict = value.parse()?,
        _ => bail!("no such option\n{USAGE}"),
    }
    Ok(())
}
