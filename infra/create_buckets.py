"""Create the buckets of an S3-compatible store that do not exist yet: `python infra/create_buckets.py NAME…`.

The store's address and keys are the variables AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import sys

import boto3
from botocore.config import Config


def main(names: list[str]) -> None:
    client = boto3.client("s3", config=Config(retries={"total_max_attempts": 10, "mode": "standard"}))
    present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in names:
        if name not in present:
            client.create_bucket(Bucket=name)
        print(f"{name}: {'exists' if name in present else 'created'}")


if __name__ == "__main__":
    main(sys.argv[1:])
