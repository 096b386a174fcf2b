//! The image's configuration: everything that init must know about the machine it is.
//!
//! It is a JSON document rather than kernel parameters because values may be of any length and contain
//! `=`, quotes and newlines.

use crate::guid::Guid;
use crate::limits::Limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The version of this contract. It grows with every change that an older init would misread.
pub const VERSION: u32 = 2;

/// The image's configuration, `/etc/nanoos/image.json` in the initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Always [`VERSION`].
    pub version: u32,
    /// Program and arguments; never empty. The program is looked up as execvp(3) does, inside the root.
    pub argv: Vec<String>,
    /// The environment, `KEY=VALUE` each, in the image's order.
    #[serde(default)]
    pub env: Vec<String>,
    /// USER as the image writes it: a name or uid, and after a colon a group or gid. Empty is root.
    #[serde(default)]
    pub user: String,
    /// The directory the program starts in, absolute inside the root.
    #[serde(default = "default_cwd")]
    pub cwd: String,
    /// Number of the signal that asks the program to stop; without it SIGTERM, or systemd's own if that is what runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<u8>,
    /// Seconds between the stop signal and SIGKILL.
    #[serde(default = "default_stop_timeout")]
    pub stop_timeout: u32,
    /// The machine's name until DHCP tells another.
    #[serde(default = "default_hostname")]
    pub hostname: String,
    /// The partition that holds the squashed root, by its unique partition GUID.
    pub root: Guid,
    /// What the machine does when the program ends.
    #[serde(default)]
    pub on_exit: OnExit,
    /// Kernel and init speak on the console.
    #[serde(default)]
    pub debug: bool,
    /// Kernel settings, by their names as sysctl(8) writes them: `vm.swappiness`.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// The volume that becomes swap, if any.
    #[serde(default)]
    pub swap: Option<Swap>,
    /// The root takes no writes: only /tmp, /run and [`Image::volumes`] do.
    #[serde(default)]
    pub read_only: bool,
    /// MiB that may be written over the root, in memory and swap; without it, as much as the machine can spare.
    #[serde(default)]
    pub overlay_mib: Option<u32>,
    /// VOLUME: directories that are writable even if the root is not, absolute inside the root.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// The program starts when the network has its address, or has had its time.
    #[serde(default = "default_true")]
    pub wait_network: bool,
    /// Kernel modules may be loaded for the machine's life, and the kernel loads those that programs ask for.
    #[serde(default)]
    pub late_modules: bool,
    /// How many words of [`Image::argv`] are ENTRYPOINT: arguments that a machine is given when it starts replace the rest.
    #[serde(default)]
    pub entrypoint_words: usize,
    /// The processes of a project, by name: program and arguments of each. A machine may be told to start another than
    /// [`Image::argv`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processes: BTreeMap<String, Vec<String>>,
    /// Which of them [`Image::argv`] is; empty where it is none of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub process: String,
    /// Neither the program nor what it starts can gain privileges by setuid files (PR_SET_NO_NEW_PRIVS).
    #[serde(default)]
    pub no_new_privileges: bool,
    /// Resource limits other than the defaults.
    #[serde(default)]
    pub limits: Limits,
    /// The program is PID 1 of a PID namespace of its own.
    #[serde(default = "default_true")]
    pub pid1: bool,
    /// Where the machine may get its configuration from when it starts.
    #[serde(default)]
    pub user_data: UserData,
    /// What a machine does whose user data cannot be acted on.
    #[serde(default)]
    pub bad_user_data: BadUserData,
    /// What a machine does that asks for its user data, and is not answered.
    #[serde(default)]
    pub missing_metadata: MissingMetadata,
}

/// The volume that becomes swap. It is used only where it is provably this one, and holds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// The name that the image's block device mapping gives it, `xvdb`: on EC2 the volume itself knows it.
    pub device: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// With a key that is made at each boot and never leaves the kernel.
    #[serde(default = "default_true")]
    pub encrypted: bool,
}

/// Whether the machine asks for user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserData {
    /// Where it runs on EC2.
    #[default]
    Ec2,
    /// Wherever it runs.
    Always,
    /// Never.
    Never,
}

/// What becomes of a machine whose user data cannot be acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadUserData {
    /// It starts its program without them.
    #[default]
    Ignore,
    /// It ends, as if its program had.
    Halt,
}

/// What becomes of a machine that nobody has told whether it has user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingMetadata {
    /// It ends, as if its program had: a program without its configuration may do harm.
    #[default]
    Halt,
    /// It starts its program without them.
    Ignore,
}

/// What the machine does when its program ends, whether well or badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExit {
    /// Switch the power off. On EC2 the instance stops or terminates, as it was launched to.
    #[default]
    PowerOff,
    /// Start again.
    Reboot,
}

fn default_true() -> bool {
    true
}

fn default_cwd() -> String {
    "/".to_owned()
}

/// Docker's own grace.
fn default_stop_timeout() -> u32 {
    10
}

fn default_hostname() -> String {
    "localhost".to_owned()
}

/// Why a document is not a configuration that this version can act on.
#[derive(Debug)]
pub enum ImageError {
    /// Not JSON, or not the fields of the contract.
    Malformed(serde_json::Error),
    /// Written by a builder of another version.
    Version(u32),
    /// A field has a value that no machine can act on.
    Invalid(&'static str),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Malformed(error) => write!(f, "not an image configuration: {error}"),
            ImageError::Version(found) => write!(
                f,
                "version {found} of the image configuration is not known, this init knows version {VERSION}: \
                 build the image with the builder that this init comes with"
            ),
            ImageError::Invalid(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ImageError::Malformed(error) => Some(error),
            ImageError::Version(_) | ImageError::Invalid(_) => None,
        }
    }
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Image {
    /// A configuration with the defaults of the contract.
    #[must_use]
    pub fn new(argv: Vec<String>, root: Guid) -> Self {
        Image {
            version: VERSION,
            argv,
            env: Vec::new(),
            user: String::new(),
            cwd: default_cwd(),
            stop_signal: None,
            stop_timeout: default_stop_timeout(),
            hostname: default_hostname(),
            root,
            on_exit: OnExit::default(),
            debug: false,
            sysctls: BTreeMap::new(),
            swap: None,
            read_only: false,
            overlay_mib: None,
            volumes: Vec::new(),
            wait_network: true,
            late_modules: false,
            entrypoint_words: 0,
            processes: BTreeMap::new(),
            process: String::new(),
            no_new_privileges: false,
            limits: Limits::default(),
            pid1: true,
            user_data: UserData::default(),
            bad_user_data: BadUserData::default(),
            missing_metadata: MissingMetadata::default(),
        }
    }

    /// ENTRYPOINT, without CMD.
    #[must_use]
    pub fn entrypoint(&self) -> &[String] {
        self.argv.get(..self.entrypoint_words).unwrap_or(&self.argv)
    }

    /// Reads and checks a document.
    ///
    /// # Errors
    /// [`ImageError`] when it is not JSON, of another version, or cannot be acted on.
    pub fn parse(json: &[u8]) -> Result<Self, ImageError> {
        // The version first: a newer document should be named as such, not called malformed for a field it added.
        let Versioned { version } = serde_json::from_slice(json).map_err(ImageError::Malformed)?;
        if version != VERSION {
            return Err(ImageError::Version(version));
        }
        let image: Image = serde_json::from_slice(json).map_err(ImageError::Malformed)?;
        image.check().map_err(ImageError::Invalid)?;
        Ok(image)
    }

    /// The document, one line with a newline at its end; the same configuration always gives the same bytes.
    ///
    /// # Errors
    /// [`ImageError::Invalid`] for what [`Image::parse`] would refuse, so that a bad image fails when it is
    /// built and not when it boots.
    pub fn to_json(&self) -> Result<Vec<u8>, ImageError> {
        self.check().map_err(ImageError::Invalid)?;
        let mut json = serde_json::to_vec(self).map_err(ImageError::Malformed)?;
        json.push(b'\n');
        Ok(json)
    }

    fn check(&self) -> Result<(), &'static str> {
        let has_nul = |text: &String| text.contains('\0');
        if self.argv.first().is_none_or(String::is_empty) {
            return Err("argv names no program");
        }
        if !self.processes.values().all(|argv| argv.first().is_some_and(|program| !program.is_empty())) {
            return Err("processes has one that names no program");
        }
        if self.processes.values().flatten().any(has_nul) {
            return Err("processes has a NUL byte, which no program can be given");
        }
        if !self.process.is_empty() && self.processes.get(&self.process) != Some(&self.argv) {
            return Err("process is not the name of the one that argv is");
        }
        if self.argv.iter().any(has_nul) {
            return Err("argv has a NUL byte, which no program can be given");
        }
        if self.env.iter().any(has_nul) {
            return Err("env has a NUL byte, which no program can be given");
        }
        if !self.env.iter().all(|entry| entry.find('=').is_some_and(|at| at > 0)) {
            return Err("env has an entry that is not KEY=VALUE");
        }
        if !self.cwd.starts_with('/') || has_nul(&self.cwd) {
            return Err("cwd is not an absolute path");
        }
        if self.stop_signal.is_some_and(|number| !(1..=64).contains(&number)) {
            return Err("stop_signal is not the number of a signal");
        }
        if !self.sysctls.keys().all(|name| is_sysctl(name)) {
            return Err("sysctls has a name that is none, such as vm.swappiness");
        }
        if !self.volumes.iter().all(|path| path.starts_with('/') && !has_nul(path)) {
            return Err("volumes has an entry that is not an absolute path");
        }
        if self.swap.as_ref().is_some_and(|swap| swap.device.is_empty() || swap.bytes == 0) {
            return Err("swap names no device, or one of no size");
        }
        Ok(())
    }
}

/// Whether a text is the name of a kernel setting: parts with dots or slashes between them, and no way out of
/// /proc/sys.
#[must_use]
pub fn is_sysctl(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/*:@".contains(&byte);
    let parts = || name.split(['.', '/']);
    name.bytes().all(known) && parts().count() > 1 && parts().all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid::ESP_TYPE;
    use proptest::prelude::*;

    fn refusal(json: &str) -> String {
        Image::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_least_document_gets_the_defaults() {
        let json = format!(r#"{{"version":2,"argv":["/bin/true"],"root":"{ESP_TYPE}"}}"#);
        let image = Image::parse(json.as_bytes()).unwrap();
        assert_eq!(image, Image::new(vec!["/bin/true".to_owned()], ESP_TYPE));
    }

    #[test]
    fn a_document_from_the_future_is_refused_by_its_version_and_not_by_its_fields() {
        assert_eq!(
            refusal(r#"{"version":999,"novelty":true}"#),
            "version 999 of the image configuration is not known, this init knows version 2: \
             build the image with the builder that this init comes with"
        );
    }

    #[test]
    fn what_no_machine_can_act_on_is_refused() {
        let with = |fields: &str| refusal(&format!(r#"{{"version":2,"root":"{ESP_TYPE}",{fields}}}"#));
        assert_eq!(with(r#""argv":[]"#), "argv names no program");
        assert_eq!(with(r#""argv":["a\u0000"]"#), "argv has a NUL byte, which no program can be given");
        assert_eq!(with(r#""argv":["a"],"processes":{"b":[]}"#), "processes has one that names no program");
        let nul = with(r#""argv":["a"],"processes":{"b":["a","\u0000"]}"#);
        assert_eq!(nul, "processes has a NUL byte, which no program can be given");
        for process in ["b", "c"] {
            let other = with(&format!(r#""argv":["a"],"processes":{{"b":["b"]}},"process":"{process}""#));
            assert_eq!(other, "process is not the name of the one that argv is");
        }
        assert_eq!(with(r#""argv":["a"],"env":["=x"]"#), "env has an entry that is not KEY=VALUE");
        assert_eq!(with(r#""argv":["a"],"cwd":"tmp""#), "cwd is not an absolute path");
        assert_eq!(with(r#""argv":["a"],"stop_signal":0"#), "stop_signal is not the number of a signal");
        for name in ["swappiness", "../x.y", "vm..x", "", "/vm.x"] {
            let refused = with(&format!(r#""argv":["a"],"sysctls":{{"{name}":"1"}}"#));
            assert_eq!(refused, "sysctls has a name that is none, such as vm.swappiness", "{name}");
        }
        assert_eq!(with(r#""argv":["a"],"volumes":["x"]"#), "volumes has an entry that is not an absolute path");
        assert!(with(r#""argv":["a"],"colour":"red""#).contains("unknown field `colour`"));
        assert!(refusal("garbage").starts_with("not an image configuration"));
    }

    #[test]
    fn an_image_without_processes_is_as_it_was_before_there_were_any() {
        let mut image = Image::new(vec!["web".to_owned()], ESP_TYPE);
        let text = |image: &Image| String::from_utf8(image.to_json().unwrap()).unwrap();
        assert!(!text(&image).contains("process"));
        image.processes.insert("web".to_owned(), image.argv.clone());
        image.process = "web".to_owned();
        assert!(text(&image).contains(r#""processes":{"web":["web"]},"process":"web""#));
        assert_eq!(Image::parse(text(&image).as_bytes()).unwrap(), image);
    }

    proptest! {
        #[test]
        fn arguments_and_environment_survive_byte_for_byte(
            argument in "[^\0]*", key in "[A-Za-z_]+", value in "[^\0]*",
        ) {
            let mut image = Image::new(vec!["/bin/true".to_owned(), argument], ESP_TYPE);
            image.env.push(format!("{key}={value}"));
            prop_assert_eq!(Image::parse(&image.to_json().unwrap()).unwrap(), image);
        }

        #[test]
        fn no_document_makes_the_reader_panic(bytes: Vec<u8>) {
            let _ = Image::parse(&bytes);
        }
    }
}
