//! How well a user is told from others, before anything is generated.
