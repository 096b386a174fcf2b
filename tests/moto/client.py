"""Asks moto as boto3 asks AWS. Where and as whom is in the environment; answers go to standard output as JSON.

client.py image AMI              what DescribeImages tells of it
client.py snapshots              ids of the snapshots that builder made, in their order
client.py volume SNAPSHOT FILE   puts the blocks of a snapshot where a volume has them, over what the file holds
"""

import base64
import hashlib
import json
import sys

import boto3

BLOCK = 512 * 1024
GIB = 1024**3


def image(ami):
    return boto3.client("ec2").describe_images(ImageIds=[ami])["Images"]


def snapshots():
    pages = boto3.client("ec2").get_paginator("describe_snapshots").paginate(
        OwnerIds=["self"], Filters=[{"Name": "tag-key", "Values": ["nanoos:content"]}]
    )
    return sorted(snapshot["SnapshotId"] for page in pages for snapshot in page["Snapshots"])


def blocks(ebs, snapshot):
    """Pages of ListSnapshotBlocks; boto3 has no paginator for it."""
    more = {}
    while True:
        page = ebs.list_snapshot_blocks(SnapshotId=snapshot, **more)
        yield page
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def volume(snapshot, path):
    ebs = boto3.client("ebs")
    indexes = []
    with open(path, "ab"):
        pass
    with open(path, "r+b") as file:
        for page in blocks(ebs, snapshot):
            file.truncate(page["VolumeSize"] * GIB)
            for block in page["Blocks"]:
                index, token = block["BlockIndex"], block["BlockToken"]
                answer = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockToken=token)
                data = answer["BlockData"].read()
                digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
                if len(data) != BLOCK or answer["DataLength"] != BLOCK or answer["Checksum"] != digest:
                    sys.exit(f"block {index} of {snapshot} is not what was told of it")
                file.seek(index * BLOCK)
                file.write(data)
                indexes.append(index)
    return sorted(indexes)


if __name__ == "__main__":
    json.dump({"image": image, "snapshots": snapshots, "volume": volume}[sys.argv[1]](*sys.argv[2:]), sys.stdout, default=str)
