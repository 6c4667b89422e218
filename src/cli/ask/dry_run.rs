//! What `write --dry-run` says: what would be written where.

use super::target::Target;
use crate::cli::outcome::Outcome;
use crate::cli::show::card_table;
use crate::cli::show::output;
use crate::cli::show::plan_text;
use crate::cli::show::write_report::Form;
use crate::compose::Plan;
use crate::escape::shown as shown_name;
use crate::source::{Contents, Opened};
use serde_json::{Value, json};

/// An image and where it would go.
pub struct DryRun<'a> {
    /// The image.
    pub image: &'a Opened,
    /// How it is packed, in words.
    pub packed: &'a str,
    /// Its length, in words.
    pub len: &'a str,
    /// Where it would go.
    pub targets: &'a [Target],
}

impl DryRun<'_> {
    /// Tells it.
    pub fn tell(&self, form: Form) -> Outcome {
        let image = self.image;
        if form == Form::Json {
            let value = json!({
                "schema": "nixflash-write-plan/1",
                "image": image.name,
                "packed": image.layers.name(),
                "imageBytes": image.source.len(),
                "isImage": image.contents == Contents::Image,
                "checks": image.checks,
                "notes": image.notes,
                "targets": self.targets.iter().map(to_json).collect::<Vec<_>>(),
            });
            return output::data(&format!("{value:#}\n"));
        }
        let mut text = format!("image    {}, {}, {}\n", shown_name(&image.name), self.packed, self.len);
        if image.contents == Contents::Unknown {
            text.push_str("         neither a partition table nor a file system: needs --raw-anyway\n");
        }
        text.extend(
            image.checks.iter().map(|check| format!("checked  {}\n", shown_name(&check.to_string()))),
        );
        text.extend(self.targets.iter().map(|target| format!("target   {}\n", shown_name(&shown(target)))));
        output::data(&output::escape_lines(&text))
    }
}

/// Tells which plan would go where; plans are by the length of their targets.
pub fn tell_plans(plans: &[(Option<u64>, Plan)], targets: &[Target], form: Form) -> Outcome {
    let of = |size: Option<u64>| targets.iter().filter(move |target| target.size() == size);
    if form == Form::Json {
        let cards: Vec<Value> = plans
            .iter()
            .map(|(size, plan)| {
                let targets: Vec<Value> = of(*size).map(to_json).collect();
                json!({ "targets": targets, "plan": plan.summary })
            })
            .collect();
        let value = json!({ "schema": "nixflash-write-plan/1", "cards": cards });
        return output::data(&format!("{value:#}\n"));
    }
    for (size, plan) in plans {
        let text: String =
            of(*size).map(|target| format!("target   {}\n", shown_name(&shown(target)))).collect();
        output::data(&output::escape_lines(&format!("{text}{}", plan_text::text(&plan.summary))))?;
    }
    Ok(())
}

fn shown(target: &Target) -> String {
    match target {
        Target::Disk(device) => card_table::in_a_line(device),
        Target::File(path, _) => format!("{} (a file)", path.display()),
    }
}

fn to_json(target: &Target) -> Value {
    let path = target.path().display().to_string();
    match target {
        Target::Disk(device) => json!({
            "target": path, "kind": "disk", "bytes": device.size, "model": device.model, "serial": device.serial,
        }),
        Target::File(..) => json!({ "target": path, "kind": "file", "bytes": null }),
    }
}
