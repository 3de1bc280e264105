"""boto3, the S3 client of AWS, and our S3 client on one bucket: what one writes or signs, the other reads or uses."""

import argparse
import io
import json

import boto3
import requests
from botocore.client import Config

from support import TIMEOUT, step

parser = argparse.ArgumentParser()
for name in ["endpoint", "bucket", "access_key", "secret_key", "put_url", "get_url"]:
    parser.add_argument(name)
arguments = parser.parse_args()
bucket = arguments.bucket

s3 = boto3.client(
    "s3", endpoint_url=arguments.endpoint, aws_access_key_id=arguments.access_key, aws_secret_access_key=arguments.secret_key,
    region_name="us-east-1", config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
)

ours = s3.get_object(Bucket=bucket, Key="ours/put")
assert ours["Body"].read() == b"put by us", "what we put"
assert ours["ContentType"] == "text/plain", ours["ContentType"]
assert len(ours["Metadata"]["sha256"]) == 64, ours["Metadata"]
assert s3.get_object(Bucket=bucket, Key="ours/parts", Range="bytes=5242879-")["Body"].read() == b"ab", "what we uploaded in parts"
step("boto3 reads what we put and what we uploaded in parts")

headers = {"Content-Type": "image/png"}
assert requests.put(arguments.put_url, data=b"too long", headers=headers, timeout=TIMEOUT).status_code == 403, "another size"
assert requests.put(arguments.put_url, data=b"signed", headers={"Content-Type": "text/html"}, timeout=TIMEOUT).status_code == 403, "another type"
answer = requests.put(arguments.put_url, data=b"signed", headers=headers, timeout=TIMEOUT)
assert answer.status_code == 200, answer.text
assert s3.get_object(Bucket=bucket, Key="ours/signed")["Body"].read() == b"signed", "what was put by the URL"
step("a URL that we sign for PUT takes exactly the type and the size it was signed for")

s3.put_object(Bucket=bucket, Key="theirs/put", Body=b"put by boto3", ContentType="text/plain")
answer = requests.get(arguments.get_url, timeout=TIMEOUT)
assert (answer.status_code, answer.content) == (200, b"put by boto3"), answer.text
assert requests.get(arguments.get_url.replace("theirs/put", "ours/put"), timeout=TIMEOUT).status_code == 403, "another key"
step("a URL that we sign for GET reads what boto3 put, and nothing else")

s3.upload_fileobj(io.BytesIO(b"x" * (12 << 20)), bucket, "theirs/parts", ExtraArgs={"ContentType": "video/mp4"})
keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix="theirs/")["Contents"]]
assert keys == ["theirs/parts", "theirs/put"], keys
urls = {
    "get": s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "ours/put"}, ExpiresIn=60),
    "put": s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "theirs/signed"}, ExpiresIn=60),
}
print(json.dumps(urls))
print("done")
