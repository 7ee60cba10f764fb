//! Dates and JSON against what Python gives.
