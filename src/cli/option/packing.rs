//! How an image is packed, as options and project files name it.

use crate::image::write::packing::Packing;
use clap::builder::PossibleValue;

impl clap::ValueEnum for Packing {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.about()))
    }
}
