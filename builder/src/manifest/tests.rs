use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn entry(platform: &str) -> String {
    let (os, rest) = platform.split_once('/').unwrap();
    let (architecture, variant) = rest.split_once('/').unwrap_or((rest, ""));
    format!(
        r#"{{"mediaType":"x","digest":"{DIGEST}","size":1,
        "platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}"}}}}"#
    )
}

fn index(entries: &[String]) -> Index {
    let json = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
    match Document::parse(json.as_bytes(), "").unwrap() {
        Document::Index(index) => index,
        Document::Manifest(_) => panic!("an index was taken for a manifest"),
    }
}

#[test]
fn the_platform_is_chosen_and_attestations_are_not() {
    let index =
        index(&[entry("unknown/unknown"), entry("linux/arm64/v8"), entry("linux/amd64/v3"), entry("linux/amd64")]);
    assert_eq!(index.image_for(amd64()).unwrap(), &index.manifests[3]);
    assert_eq!(index.image_for("linux/arm64".parse().unwrap()).unwrap(), &index.manifests[1]);
}

#[test]
fn a_missing_platform_is_answered_with_those_there_are() {
    let index = index(&[entry("unknown/unknown"), entry("linux/arm64/v8"), entry("windows/amd64")]);
    assert_eq!(
        index.image_for(amd64()).unwrap_err().to_string(),
        "the image is not made for linux/amd64, only for linux/arm64/v8, windows/amd64: \
         choose with --platform, or build it for linux/amd64"
    );
}

#[test]
fn an_index_of_one_nameless_image_gives_that() {
    let index = index(&[format!(r#"{{"mediaType":"x","digest":"{DIGEST}","size":1}}"#)]);
    assert!(index.image_for(amd64()).is_ok());
}

#[test]
fn documents_that_are_no_images_are_named() {
    let refused = |json: &str, kind: &str| format!("{:#}", Document::parse(json.as_bytes(), kind).unwrap_err());
    assert!(refused("<html>", "").starts_with("not an image manifest: expected value"));
    assert!(refused(r#"{"schemaVersion":1,"fsLayers":[]}"#, "").contains("schema 1"));
    assert!(refused(r#"{"schemaVersion":2,"mediaType":"application/vnd.cncf.helm"}"#, "").contains("vnd.cncf.helm"));
    assert!(refused(r#"{"schemaVersion":2}"#, "").contains("neither layers nor manifests"));
    assert!(
        refused(r#"{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}"#, "").contains("\"x\" is not a digest")
    );
}

#[test]
fn layers_that_cannot_be_read_are_refused_by_name() {
    let check = |media_type: &str| {
        let digest = DIGEST.parse().unwrap();
        let annotations = BTreeMap::new();
        check_layer_type(&Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: 0,
            platform: None,
            annotations,
        })
        .map_err(|error| error.to_string())
    };
    for known in LAYER_TYPES {
        assert_eq!(check(known), Ok(()));
    }
    assert!(check("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").unwrap_err().contains("foreign layer"));
    assert!(check("application/vnd.oci.image.layer.v1.tar+gzip+encrypted").unwrap_err().contains("is encrypted"));
    assert_eq!(
        check("application/wasm").unwrap_err(),
        "layer sha256:e3b0c44298fc has media type \"application/wasm\", \
         which is not that of a container image's layer: is this a container image?"
    );
}

#[test]
fn a_configuration_may_leave_out_or_null_what_it_likes() {
    let json =
        r#"{"architecture":"amd64","os":"linux","config":{"Cmd":null,"Env":null,"Entrypoint":["/x"]},"rootfs":null}"#;
    let config = ImageConfig::parse(json.as_bytes(), amd64()).unwrap();
    assert_eq!(config.config.entrypoint, ["/x"]);
    assert_eq!(config.diff_ids(2).unwrap(), [None, None]);
    assert_eq!(ImageConfig::parse(b"{}", amd64()).unwrap(), ImageConfig::default());
}

#[test]
fn a_configuration_is_read_as_docker_reads_it() {
    let config = |json: &str| {
        let json = format!(r#"{{"config":{json}}}"#);
        ImageConfig::parse(json.as_bytes(), amd64()).map(|image| image.config).map_err(|error| format!("{error:#}"))
    };
    let read = config(r#"{"Entrypoint":"/a b","Cmd":["c",null],"Env":"A=1","Labels":{"a":[]}}"#).unwrap();
    assert_eq!(
        (read.entrypoint, read.cmd, read.env),
        (vec!["/a b".into()], vec!["c".into(), String::new()], vec!["A=1".into()])
    );
    let read =
        config(r#"{"entrypoint":["/a"],"env":["A=1"],"workingdir":"/w","stopSignal":"INT","user":"u"}"#).unwrap();
    assert_eq!(
        (read.entrypoint, read.working_dir.as_str(), read.stop_signal.as_str()),
        (vec!["/a".into()], "/w", "INT")
    );
    assert!(config(r#"{"Cmd":[1]}"#).unwrap_err().contains("expected a list of strings"));
    let read = config(r#"{"Cmd":["a"],"cmd":["b"],"EXPOSEDPORTS":{"80/tcp":{}},"Volumes":{"/D":{}}}"#).unwrap();
    assert_eq!((read.cmd, read.exposed_ports.len(), read.volumes.contains_key("/D")), (vec!["b".into()], 1, true));
}

#[test]
fn a_manifest_is_read_as_docker_reads_it() {
    let other = DIGEST.replace("e3b0", "0000");
    let json = format!(
        r#"{{"SchemaVersion":2,"Config":{{"Digest":"{DIGEST}","digest":"{other}"}},"Layers":[1],"layers":[{{"SIZE":7,"digest":"{DIGEST}"}}]}}"#
    );
    let Document::Manifest(manifest) = Document::parse(json.as_bytes(), "").unwrap() else { panic!("{json}") };
    assert_eq!((manifest.config.digest.to_string(), manifest.layers[0].size), (other, 7));
}

#[test]
fn a_configuration_for_another_machine_or_other_layers_is_refused() {
    let refused = ImageConfig::parse(br#"{"architecture":"arm64","os":"linux"}"#, amd64()).unwrap_err().to_string();
    assert!(refused.starts_with("the image is made for linux/arm64, not for linux/amd64"));
    let json = format!(r#"{{"rootfs":{{"diff_ids":["{DIGEST}"]}}}}"#);
    let config = ImageConfig::parse(json.as_bytes(), amd64()).unwrap();
    assert!(config.diff_ids(2).unwrap_err().to_string().contains("2 layers and its configuration 1"));
}
