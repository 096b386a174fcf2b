//! EBS snapshots and AMIs of disk images, without an instance and without a bucket.
