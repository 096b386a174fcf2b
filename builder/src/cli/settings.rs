//! nanoos.toml: a project's options, which stand on the command line before those that the user types.

mod read;

use super::keys::{self, Shape};
use super::{Cli, Command};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use read::{Setting, read};
use std::error::Error as _;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The file's name, in the project's directory.
pub(crate) const FILE: &str = "nanoos.toml";

/// Reads the command line, and nanoos.toml where it names a project.
pub(crate) fn parse(arguments: &[OsString]) -> Result<(Cli, ArgMatches), clap::Error> {
    parse_for(arguments, project)
}

/// The project's directory, if the command line names one.
fn project(cli: &Cli) -> Option<PathBuf> {
    let named = match &cli.command {
        None => cli.build.image.as_ref()?.path(),
        Some(Command::Run(run)) => run.what.path(),
        Some(Command::Create(create)) => Some(create.path.as_path()),
        Some(Command::Update(update)) => Some(update.path.as_path()),
        Some(Command::Init(init)) => Some(init.path.as_path()),
        Some(_) => None,
    };
    named.map(Path::to_owned)
}

fn parse_for(
    arguments: &[OsString],
    project: impl Fn(&Cli) -> Option<PathBuf>,
) -> Result<(Cli, ArgMatches), clap::Error> {
    let once = |command: clap::Command, arguments: &[OsString]| {
        let matches = command.try_get_matches_from(arguments)?;
        let mut cli = Cli::from_arg_matches(&matches)?;
        cli.making().into_iter().for_each(|making| making.typed = making.typed());
        Ok::<_, clap::Error>((cli, matches))
    };
    let first = once(Cli::command(), arguments);
    let lenient;
    let typed = match &first {
        Ok(typed) => Some(typed),
        // nanoos.toml may have what an option wants beside it.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            lenient = once(Cli::command().ignore_errors(true), arguments);
            lenient.as_ref().ok()
        }
        Err(_) => None,
    };
    let Some((cli, matches)) = typed else { return first };
    let typed_making = cli.typed();
    let Some(directory) = project(cli).filter(|directory| directory.is_dir()) else { return first };
    let file = if directory == Path::new(".") { FILE.into() } else { directory.join(FILE) };
    let root = keys::command_line();
    let refuse = |text: String| clap::Error::raw(ErrorKind::InvalidValue, format!("{}: {text}\n", file.display()));
    let Some(mut settings) = read(&file, &root).map_err(refuse)? else { return first };
    settings.iter().try_for_each(|setting| of_the_project(setting, &directory)).map_err(refuse)?;
    let (command, matches, at) = match matches.subcommand() {
        Some((name, matches)) => {
            let at = arguments.iter().skip(1).position(|word| word == name).map_or(1, |at| at + 2);
            (root.find_subcommand(name).unwrap_or(&root), matches, at)
        }
        None => (&root, matches, 1),
    };
    choose(&mut settings, command, matches);
    let (before, behind) = arguments.split_at(at.min(arguments.len()));
    let all = [before, &words(&settings, command, &directory), behind].concat();
    let (mut cli, all_matches) = once(Cli::command(), &all).map_err(|error| blame(error, &settings, refuse))?;
    cli.making().into_iter().for_each(|making| making.typed = typed_making);
    Ok((cli, all_matches))
}

/// Refuses what a project of somebody else's could do harm with: to write or to pack files outside of it, to pack what
/// the environment of the build has. The command line may do all that.
fn of_the_project(setting: &Setting, directory: &Path) -> Result<(), String> {
    const ITS_OWN: &[&str] = &["output", "provenance", "env-file"];
    for value in &setting.values {
        let text = value.text.as_deref().unwrap_or_default();
        let at = |problem: &str| Err(format!("line {}: {}: {problem}", value.line, setting.name));
        if setting.name == "env" && !text.contains('=') {
            return at(
                "a name alone takes its value from the environment of the build: write NAME=VALUE, or -e NAME on the \
                       command line",
            );
        }
        if ITS_OWN.contains(&setting.name.as_str()) && text != "-" && !lies_in(directory, Path::new(text)) {
            return at("it lies outside of the project, where only the command line may name a file");
        }
    }
    Ok(())
}

/// Whether a path that is relative to a directory lies in it, also by way of links.
fn lies_in(directory: &Path, path: &Path) -> bool {
    if !path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
        return false;
    }
    let Ok(root) = directory.canonicalize() else { return false };
    // What is not there yet lies where its directory is.
    let whole = directory.join(path);
    let mut there = whole.ancestors().skip(usize::from(!whole.is_symlink()));
    there.find_map(|there| there.canonicalize().ok()).is_some_and(|there| there.starts_with(&root))
}

/// Leaves the settings that count for this command: those that the user did not give, and that go with what the user
/// gave.
fn choose(settings: &mut Vec<Setting>, command: &clap::Command, matches: &ArgMatches) {
    let options: Vec<&Arg> = keys::options(command).collect();
    let option = |name: &str| options.iter().copied().find(|option| keys::long(option) == Some(name));
    let given: Vec<&Arg> = options.iter().copied().filter(|option| is_given(option, matches)).collect();
    let go_with_given = |option: &Arg| {
        let excludes = |one: &Arg, other: &Arg| {
            command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
        };
        !given.iter().any(|given| excludes(option, given) || excludes(given, option))
    };
    settings.retain_mut(|setting| {
        let Some(option) = option(&setting.name) else { return false };
        if !given.iter().any(|given| given.get_id() == option.get_id()) {
            return go_with_given(option);
        }
        if Shape::of(option) != Shape::Pairs {
            return false;
        }
        // A table goes on where the user names others: the user's come last, and take the place of those of their name.
        let names: Vec<String> = raw(option, matches).map(|value| pair_name(&value).to_owned()).collect();
        setting
            .values
            .retain(|value| value.text.as_deref().is_none_or(|text| !names.iter().any(|name| name == pair_name(text))));
        true
    });
    choose_destination(settings, command, matches);
}

/// The options of EC2 mean nothing to a disk image, and its own mean nothing to an AMI: what the user wants decides,
/// else what nanoos.toml wants.
fn choose_destination(settings: &mut Vec<Setting>, command: &clap::Command, matches: &ArgMatches) {
    const OF_A_FILE: &[&str] = &["output", "format"];
    let option = |name: &str| keys::options(command).find(|option| keys::long(option) == Some(name));
    let to = option("to").filter(|to| is_given(to, matches)).and_then(|to| raw(to, matches).next());
    let of_a_file = OF_A_FILE.iter().filter_map(|name| option(name)).any(|option| is_given(option, matches));
    let of_ec2 = keys::options(command).any(|option| keys::is_of_ec2(option) && is_given(option, matches));
    let has =
        |settings: &[Setting], wanted: &[&str]| settings.iter().any(|setting| wanted.contains(&setting.name.as_str()));
    let typed_file = of_a_file || to.as_deref() == Some("file");
    let typed_ec2 = of_ec2 || to.as_deref() == Some("ec2");
    if typed_ec2 {
        settings.retain(|setting| !OF_A_FILE.contains(&setting.name.as_str()) && setting.name != "to");
    } else if typed_file {
        settings.retain(|setting| setting.name != "to");
    }
    let to_file = |setting: &Setting| {
        setting.name == "to" && setting.values.iter().any(|value| value.text.as_deref() == Some("file"))
    };
    if !typed_ec2 && (typed_file || has(settings, OF_A_FILE) || settings.iter().any(to_file)) {
        settings.retain(|setting| !option(&setting.name).is_some_and(keys::is_of_ec2));
    }
}

/// Whether the user gave an option, on the command line or by its environment variable.
fn is_given(option: &Arg, matches: &ArgMatches) -> bool {
    let source = matches.value_source(option.get_id().as_str());
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// An option's values as the user typed them.
fn raw<'a>(option: &Arg, matches: &'a ArgMatches) -> impl Iterator<Item = String> + 'a {
    let values = matches.get_raw(option.get_id().as_str());
    values.into_iter().flatten().map(|value| value.to_string_lossy().into_owned())
}

/// The name in `NAME=VALUE`; VMify's users write a colon before it.
fn pair_name(text: &str) -> &str {
    text.trim_start_matches(':').split('=').next().unwrap_or_default()
}

/// The settings as words of a command line. Paths are relative to the project, where nanoos.toml is.
fn words(settings: &[Setting], command: &clap::Command, directory: &Path) -> Vec<OsString> {
    let is_path =
        |name: &str| keys::options(command).any(|option| keys::long(option) == Some(name) && keys::is_path(option));
    let mut words = Vec::new();
    for setting in settings {
        let name = &setting.name;
        let is_path = is_path(name) && directory != Path::new(".");
        words.extend(setting.values.iter().map(|value| match value.text.as_deref() {
            None => format!("--{name}").into(),
            // - is standard output.
            Some(text) if is_path && text != "-" => {
                let mut word = OsString::from(format!("--{name}="));
                word.push(directory.join(text));
                word
            }
            Some(text) => format!("--{name}={text}").into(),
        }));
    }
    words
}

/// An error of clap's, named by the line of nanoos.toml where the fault is there.
fn blame(error: clap::Error, settings: &[Setting], refuse: impl Fn(String) -> clap::Error) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let is_value = matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation);
    let value = text(ContextKind::InvalidValue).pop().filter(|_| is_value);
    // `--swap <GIB>`
    let options = [text(ContextKind::InvalidArg), text(ContextKind::PriorArg)].concat();
    let names = options.iter().filter_map(|option| option.strip_prefix("--")?.split([' ', '[', '=']).next());
    for setting in names.filter_map(|name| settings.iter().find(|setting| setting.name == name)) {
        let is_it = |written: &&read::Value| value.is_none() || written.text == value;
        let Some(written) = setting.values.iter().find(is_it) else { continue };
        let why = match error.source() {
            Some(why) if is_value => why.to_string(),
            _ => error.render().to_string().trim_start_matches("error: ").lines().next().unwrap_or_default().to_owned(),
        };
        let known = text(ContextKind::ValidValue);
        let why = if is_value && !known.is_empty() { format!("it is none of {}", known.join(", ")) } else { why };
        return refuse(format!("line {}: {}: {why}", written.line, setting.name));
    }
    error
}

#[cfg(test)]
mod tests;
