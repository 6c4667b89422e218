//! `boot.json`, the boot specification of a toplevel (NixOS RFC 125, version 1).

use serde::Deserialize;
use std::collections::BTreeMap;

/// What is needed to boot a system: `org.nixos.bootspec.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootSpec {
    /// The platform: `aarch64-linux`.
    pub system: String,
    /// What a menu calls it.
    pub label: String,
    /// The toplevel.
    pub toplevel: String,
    /// The program that the initrd starts.
    pub init: String,
    /// The kernel.
    pub kernel: String,
    /// Its parameters, without `init=`.
    pub kernel_params: Vec<String>,
    /// The initrd.
    pub initrd: Option<String>,
    /// A program that appends secrets to the initrd when the system is installed.
    pub initrd_secrets: Option<String>,
}

/// A whole document: the system, and those derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// The system.
    #[serde(rename = "org.nixos.bootspec.v1")]
    pub spec: BootSpec,
    /// Its specialisations, by name.
    #[serde(rename = "org.nixos.specialisation.v1", default)]
    pub specialisations: BTreeMap<String, Document>,
}

/// Parses a document; keys that are not known are left alone.
pub fn parse(json: &[u8]) -> Result<Document, serde_json::Error> {
    serde_json::from_slice(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"system":"aarch64-linux","label":"l","toplevel":"/t","init":"/t/init","kernel":"/k","kernelParams":["a","b=c"],"initrd":"/i"}"#;

    #[test]
    fn documents_with_specialisations_and_extensions_parse() {
        let json = format!(
            r#"{{"org.nixos.bootspec.v1":{SPEC},"org.nixos.specialisation.v1":{{"x":{{"org.nixos.bootspec.v1":{SPEC}}}}},"org.example":1}}"#
        );
        let document = parse(json.as_bytes()).unwrap();
        assert_eq!(document.spec.kernel_params, ["a", "b=c"]);
        assert_eq!((document.spec.initrd.as_deref(), document.spec.initrd_secrets), (Some("/i"), None));
        assert_eq!(document.specialisations["x"].spec.kernel, "/k");
    }

    #[test]
    fn what_is_missing_is_named() {
        for key in ["system", "label", "toplevel", "init", "kernel", "kernelParams"] {
            let json = format!(
                r#"{{"org.nixos.bootspec.v1":{}}}"#,
                SPEC.replace(&format!("\"{key}\""), "\"other\"")
            );
            assert!(parse(json.as_bytes()).unwrap_err().to_string().contains(key), "{key}");
        }
        assert!(parse(b"{}").unwrap_err().to_string().contains("org.nixos.bootspec.v1"));
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
