//! What can be learnt from an image or a card.
