//! Does it personalise? What `foil eval` runs.
