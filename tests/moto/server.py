"""moto's own server (`moto_server`), but for three things that AWS does, moto 5.2.5 does not, and a careful client looks at."""

from moto.ebs.models import EBSBackend
from moto.ec2.responses.amis import AmisResponse
from moto.server import main

start_snapshot = EBSBackend.start_snapshot
complete_snapshot = EBSBackend.complete_snapshot
register_image = AmisResponse.register_image


def start_pending(self, *arguments, **named):
    """Of a snapshot that has just begun, moto's StartSnapshot tells `pending`, but its DescribeSnapshots `completed`."""
    snapshot = start_snapshot(self, *arguments, **named)
    self.ec2_backend.snapshots[snapshot.snapshot_id].status = "pending"
    return snapshot


def complete_both(self, snapshot_id):
    """So that DescribeSnapshots tells of the end, too."""
    self.ec2_backend.snapshots[snapshot_id].status = "completed"
    return complete_snapshot(self, snapshot_id)


def register_with_tags(self):
    """moto's RegisterImage drops the tags, by which an image is found again."""
    result = register_image(self)
    image = self.ec2_backend.amis[result.result["ImageId"]]
    for specification in self._get_param("TagSpecifications", []):
        image.add_tags({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
    return result


EBSBackend.start_snapshot = start_pending
EBSBackend.complete_snapshot = complete_both
AmisResponse.register_image = register_with_tags

if __name__ == "__main__":
    main()
