//! What comes after an image is published, against the stand-in for AWS.

mod lab;
mod parameter;
mod regions;
mod verify;
