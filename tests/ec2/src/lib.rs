//! Stands in for EC2, the EBS direct APIs, STS and SSM.
