use super::*;

const KEYS: &str = "aws_access_key_id = AKIA\naws_secret_access_key = x\n";

fn surroundings(variables: &[(&str, &str)], credentials: &str, config: &str) -> Surroundings {
    Surroundings {
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        credentials: ("/h/.aws/credentials".into(), credentials.to_owned()),
        config: ("/h/.aws/config".into(), config.to_owned()),
        ..Surroundings::default()
    }
}

/// Variables, the credentials file and the config file.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);

/// The profile and the regions that are found, or `disk`.
fn found(wanted: &Wanted<'_>, surroundings: &Surroundings) -> String {
    match find(wanted, surroundings) {
        Ok(Destination::Disk) => "disk".to_owned(),
        Ok(Destination::Ec2(account)) => {
            let regions: Vec<String> = account.regions.iter().map(ToString::to_string).collect();
            format!("{} {}", account.profile.as_deref().unwrap_or("chain"), regions.join(" "))
        }
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn without_credentials_a_disk_is_built_unless_ec2_is_asked_for() {
    let nothing = surroundings(&[], "", "");
    assert_eq!(found(&Wanted::default(), &nothing), "disk");
    assert_eq!(found(&Wanted::default(), &Surroundings { on_ec2: true, ..nothing.clone() }), "disk");
    let regions = ["us-east-1".parse().unwrap()];
    let asked =
        [Wanted { quiet: true, ..Wanted::default() }, Wanted { regions: &regions, ec2: true, ..Wanted::default() }];
    for wanted in asked {
        let instance = Surroundings { on_ec2: true, ..nothing.clone() };
        assert!(found(&wanted, &instance).starts_with("chain "));
        assert_eq!(
            found(&wanted, &nothing),
            "there are no AWS credentials, and an image of EC2 is what -q, -r, --profile and their like ask for: put them into a \
             profile [vmify] of /h/.aws/credentials, or name a profile with --profile, or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY; -o FILE builds a disk image without any"
        );
        let to_file = Wanted { file: true, ..wanted };
        assert_eq!(found(&to_file, &nothing), "disk");
    }
}

#[test]
fn credentials_are_found_in_the_order_of_their_precedence() {
    let all = format!("[default]\n{KEYS}[vmify]\n{KEYS}[work]\n{KEYS}");
    let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B")];
    let work = Wanted { profile: Some("work"), ..Wanted::default() };
    assert_eq!(found(&work, &surroundings(&keys, &all, "")), "work eu-central-1");
    assert_eq!(found(&Wanted::default(), &surroundings(&keys, &all, "")), "vmify eu-central-1");
    assert_eq!(found(&Wanted::default(), &surroundings(&keys, "", "")), "chain eu-central-1");
    let chains: [Case<'_>; 8] = [
        (&[], "[default]\naws_access_key_id=a\naws_secret_access_key=b\n", ""),
        (&[], "", "[default]\nsso_session = x\n"),
        (&[], "", "[default]\ncredential_process = /bin/x\n"),
        (&[("AWS_PROFILE", "p")], "", "[profile p]\nrole_arn = x\n"),
        (&[("AWS_PROFILE", "p")], "", "[profile p]\nsso_start_url = x\n"),
        (&[("AWS_WEB_IDENTITY_TOKEN_FILE", "t"), ("AWS_ROLE_ARN", "r")], "", ""),
        (&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")], "", ""),
        (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://x")], "", ""),
    ];
    for (variables, credentials, config) in chains {
        let found = found(&Wanted::default(), &surroundings(variables, credentials, config));
        assert_eq!(found, "chain eu-central-1", "{variables:?} {credentials:?} {config:?}");
    }
    let none: [Case<'_>; 2] = [
        (&[], "", "[profile p]\nrole_arn = x\n[sso-session s]\nsso_start_url = x\n"),
        (&[], "[default]\nregion = x\n", "[default]\n# role_arn = x\ns3 =\n  role_arn = y\n"),
    ];
    for (variables, credentials, config) in none {
        let found = found(&Wanted::default(), &surroundings(variables, credentials, config));
        assert_eq!(found, "disk", "{variables:?} {credentials:?} {config:?}");
    }
}

#[test]
fn what_was_set_up_for_aws_and_can_not_be_used_is_no_wish_for_a_disk() {
    let of =
        |name, value| found(&Wanted::default(), &surroundings(&[(name, value)], &format!("[default]\n{KEYS}"), ""));
    assert!(of("AWS_PROFILE", "p").starts_with("AWS_PROFILE=p: neither /h/.aws/credentials nor"));
    let half = found(&Wanted::default(), &surroundings(&[("AWS_SECRET_ACCESS_KEY", "x")], "", ""));
    assert!(half.starts_with("of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set"), "{half}");
    let file = Wanted { file: true, ..Wanted::default() };
    assert_eq!(found(&file, &surroundings(&[("AWS_PROFILE", "p")], "", "")), "disk");
}

#[test]
fn a_profile_that_is_asked_for_must_give_credentials() {
    let files = surroundings(&[], "[one]\nregion = eu-west-1\n", "[profile two]\noutput = json\n");
    let with = |profile| found(&Wanted { profile: Some(profile), ..Wanted::default() }, &files);
    assert_eq!(
        with("three"),
        "--profile three: neither /h/.aws/credentials nor /h/.aws/config has such a profile; there are: one, two"
    );
    assert!(with("one").starts_with("--profile one: it has no credentials: give it aws_access_key_id "));
}

#[test]
fn regions_are_found_in_the_order_of_their_precedence() {
    let config = "[default]\nregion = eu-west-3 # Paris\n[profile p]\nregion=ap-southeast-5\n";
    let credentials = format!("[p]\n{KEYS}[default]\n{KEYS}");
    let both = [("AWS_REGION", "us-west-2"), ("AWS_DEFAULT_REGION", "us-east-2")];
    let regions = ["us-gov-west-1".parse().unwrap(), "eu-north-1".parse().unwrap(), "eu-north-1".parse().unwrap()];
    let of =
        |wanted: &Wanted<'_>, variables: &[(&str, &str)]| found(wanted, &surroundings(variables, &credentials, config));
    let none = Wanted::default();
    assert_eq!(of(&Wanted { regions: &regions, ..none }, &both), "chain us-gov-west-1 eu-north-1");
    assert_eq!(of(&none, &both), "chain us-west-2");
    assert_eq!(of(&none, &both[1..]), "chain us-east-2");
    assert_eq!(of(&none, &[]), "chain eu-west-3");
    assert_eq!(of(&Wanted { profile: Some("p"), ..none }, &[]), "p ap-southeast-5");
    assert_eq!(of(&none, &[("AWS_PROFILE", "p")]), "chain ap-southeast-5");
    assert_eq!(of(&none, &[("AWS_REGION", "here")]), "AWS_REGION=here: it is no region of AWS, such as eu-central-1");
}

#[test]
fn regions_have_a_form() {
    for good in ["eu-central-1", "us-gov-west-1", "cn-north-1", "ap-southeast-5", "us-iso-east-1"] {
        assert!(good.parse::<Region>().is_ok(), "{good}");
    }
    for bad in ["", "frankfurt", "eu-central", "eu-central-1a", "EU-central-1", "eu--1", "1-2-3", "eu-central-1-"] {
        assert!(bad.parse::<Region>().is_err(), "{bad}");
    }
}

#[test]
fn authorities_are_those_of_the_variable_then_of_the_profile() {
    let config = "[default]\nca_bundle = /default.pem\n[profile p]\nca_bundle = /p.pem\n";
    let credentials = format!("[p]\n{KEYS}[default]\n{KEYS}[bare]\n{KEYS}");
    let of = |profile, variables: &[(&str, &str)]| {
        let wanted = Wanted { profile, ..Wanted::default() };
        match find(&wanted, &surroundings(variables, &credentials, config)).unwrap() {
            Destination::Ec2(account) => account.authorities.map(|file| file.display().to_string()),
            Destination::Disk => panic!("there are credentials"),
        }
    };
    assert_eq!(of(None, &[]).as_deref(), Some("/default.pem"));
    assert_eq!(of(Some("p"), &[]).as_deref(), Some("/p.pem"));
    assert_eq!(of(None, &[("AWS_PROFILE", "p")]).as_deref(), Some("/p.pem"));
    assert_eq!(of(Some("bare"), &[]), None);
    assert_eq!(of(Some("p"), &[("AWS_CA_BUNDLE", "/v.pem")]).as_deref(), Some("/v.pem"));
}

#[test]
fn a_file_without_an_end_is_refused_where_ec2_may_be_meant() {
    let endless = read(Path::new("/dev/zero")).unwrap_err().to_string();
    assert_eq!(endless, "it is longer than 16 MiB, the most that is read of such a file");
    assert_eq!(read(Path::new("/nowhere")).unwrap(), "");
    let surroundings = Surroundings { refused: Some(endless.clone()), ..Surroundings::default() };
    assert_eq!(found(&Wanted::default(), &surroundings), endless);
    assert_eq!(found(&Wanted { file: true, ..Wanted::default() }, &surroundings), "disk");
}
