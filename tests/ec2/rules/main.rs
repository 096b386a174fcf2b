//! Each rule that the stand-in enforces, and each fault, over raw HTTP.
