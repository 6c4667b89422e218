//! The plan of an ext4: every byte of its metadata, and where contents go.

use super::allocate::Plan;
use super::encode;
use super::list::Token;
use super::namespace::Lent;
use super::options::{Error, Options, Summary};
use crate::extent::Extent;
use crate::extent::Layout;
use crate::format::disk::ext4::ondisk::block::BLOCK;
use crate::tree::Node;

/// A planned file system.
pub struct Ext4<C> {
    plan: Plan<C>,
    extents: Vec<Extent<C>>,
    tokens: Vec<Token>,
}

/// Plans a file system that holds `root`.
pub fn plan<C: Copy>(root: &Node<C>, options: &Options) -> Result<Ext4<C>, Error> {
    plan_with(root, &[], options)
}

/// Plans a file system that holds `root`, and in the directory [`Options::front`] also the trees of `lent`, which are
/// sorted bytewise by name and stay where they are.
pub fn plan_with<C: Copy>(root: &Node<C>, lent: &[Lent<'_, C>], options: &Options) -> Result<Ext4<C>, Error> {
    let plan = Plan::new(root, lent, options)?;
    let (extents, tokens) = plan.extents();
    Ok(Ext4 { plan, extents, tokens })
}

impl<C> Ext4<C> {
    /// What superblock and people are told of it.
    #[must_use]
    pub const fn summary(&self) -> Summary {
        self.plan.summary
    }
}

impl<C: Copy> Layout<C> for Ext4<C> {
    fn len(&self) -> u64 {
        self.plan.summary.blocks * BLOCK
    }

    fn extents(&self) -> &[Extent<C>] {
        &self.extents
    }

    fn encode(&self, index: usize, out: &mut [u8]) {
        encode::token(&self.plan, self.tokens[index], out);
    }
}
