import ApusProtocol
import Testing

@testable import ApusBackends

/// The examples of AWS's documentation ("Authenticating Requests: Using the Authorization Header" and "Using Query Parameters").
@Suite("AWS Signature Version 4")
struct SignatureV4Tests {
    private static let signer = SignatureV4(
        accessKey: "AKIAIOSFODNN7EXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region: "us-east-1")
    private static let time = Timestamp(milliseconds: 1_369_353_600_000)
    private static let host = (name: "Host", value: "examplebucket.s3.amazonaws.com")
    private static let date = (name: "x-amz-date", value: "20130524T000000Z")
    private static let emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    private static func get(
        _ path: String, query: [(name: String, value: String)] = [], headers: [(name: String, value: String)] = []
    ) -> SignatureV4.Request {
        SignatureV4.Request(
            method: "GET", path: path, query: query, headers: headers + [host, ("x-amz-content-sha256", emptyHash), date],
            payloadHash: emptyHash)
    }

    @Test(
        "the header's signature is AWS's, for plain, listing and sub-resource requests",
        arguments: [
            (get("/test.txt", headers: [("Range", "bytes=0-9")]), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            (get("/", query: [("lifecycle", "")]), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (
                get("/", query: [("prefix", "J"), ("max-keys", "2")]),
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
            ),
        ])
    func header(_ request: SignatureV4.Request, _ signature: String) {
        #expect(Self.signer.signature(request, at: Self.time) == signature)
    }

    @Test("a path is escaped once, and fields are signed in the order of their names")
    func put() {
        let hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
        let request = SignatureV4.Request(
            method: "PUT", path: "/test$file.text",
            headers: [
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"), Self.host, ("Date", "Fri,  24 May 2013 00:00:00 GMT "),
                ("x-amz-content-sha256", hash), Self.date,
            ],
            payloadHash: hash)
        let expected =
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            + "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
            + "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        #expect(Self.signer.authorization(request, at: Self.time) == expected)
    }

    @Test("a presigned URL has AWS's parameters and signature")
    func presigned() {
        let request = SignatureV4.Request(
            method: "GET", path: "/test.txt", headers: [Self.host], payloadHash: SignatureV4.unsignedPayload)
        let signed = Self.signer.presigned(request, at: Self.time, seconds: 86_400)
        let expected =
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
            + "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
            + "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404&X-Amz-SignedHeaders=host"
        #expect(signed.canonicalQuery == expected)
    }

    @Test(
        "the time of a signature is UTC, in every part two digits",
        arguments: [(0, "19700101T000000Z"), (951_782_399_999, "20000228T235959Z"), (1_709_251_199_000, "20240229T235959Z")])
    func time(_ milliseconds: Int64, _ text: String) {
        #expect(SignatureV4.dateTime(Timestamp(milliseconds: milliseconds)) == text)
    }
}

@Suite("What S3 answers")
struct S3AnswerTests {
    @Test("elements, attributes, entities, comments and CDATA are read")
    func xml() throws {
        let root = try XMLReader.read(
            """
            <?xml version="1.0" encoding="UTF-8"?>
            <!-- a list -->
            <s3:List xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Key>a&amp;b&#x41;&#66;&quot;</Key><Empty/><!-- x -->
            <Item n="1"><Key><![CDATA[<raw>]]></Key></Item></s3:List>

            """)
        #expect(root.name == "List")
        #expect(root["Key"] == "a&bAB\"")
        #expect(root["Empty"] == "")
        #expect(root.first("Item")?["Key"] == "<raw>")
        #expect(root["Absent"] == nil)
    }

    @Test(
        "what is no document, is cut off, too deep or brings a document type is refused",
        arguments: [
            "", "text", "<a>", "<a></b>", "<a>&unknown;</a>", "<a>&#xD800;</a>", "<a>&amp</a>", "<a/><b/>", "<a", "<>", "<a><!-- </a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", String(repeating: "<a>", count: 100_000),
        ])
    func badXML(_ text: String) {
        #expect(throws: ApusError.self) { try XMLReader.read(text) }
    }

    @Test("dates of headers and of lists are read, and nothing else is taken for one")
    func dates() {
        #expect(HTTPDate.parse("Sun, 06 Nov 1994 08:49:37 GMT") == Timestamp(milliseconds: 784_111_777_000))
        #expect(S3Date.parse("2009-10-12T17:50:30.250Z") == Timestamp(milliseconds: 1_255_369_830_250))
        #expect(S3Date.parse("2009-10-12T17:50:30.999999999Z") == Timestamp(milliseconds: 1_255_369_830_999))
        #expect(S3Date.parse("2009-10-12T17:50:30Z") == Timestamp(milliseconds: 1_255_369_830_000))
        for text in ["", "yesterday", "Sun, 06 Nov 1994 08:49 GMT", "2009-10-12", "2009-13-12T17:50:30Z", "2009-10-12T17:50:30"] {
            #expect(HTTPDate.parse(text) == nil)
            #expect(S3Date.parse(text) == nil)
        }
    }

    @Test("an s3:// address names bucket, endpoint, region and style; AWS is what is meant without an endpoint")
    func address() throws {
        let own = try S3Configuration(url: "s3://chat?endpoint=https://minio.example.com:9000", accessKey: "a", secretKey: "s")
        #expect(own.authority == "minio.example.com:9000")
        #expect(own.path("k") == "/chat/k")
        #expect(own.path(nil) == "/chat")
        #expect(own.authoritiesFile == nil)
        let trusting = try S3Configuration(url: "s3://chat?endpoint=https://minio&ca=/etc/ca.pem", accessKey: "a", secretKey: "s")
        #expect(trusting.authoritiesFile == "/etc/ca.pem")
        let aws = try S3Configuration(url: "s3://chat?region=eu-west-1", accessKey: "a", secretKey: "s")
        #expect(aws.authority == "chat.s3.eu-west-1.amazonaws.com")
        #expect(aws.path("k") == "/k")
        #expect(aws.path(nil) == "/")
        #expect(aws.region == "eu-west-1")
        let wrong = [
            "http://chat", "s3://", "s3://Chat", "s3://chat/folder", "s3://chat?style=cubist", "s3://chat?colour=red",
            "s3://chat?endpoint=ftp://x", "s3://chat?endpoint=http://x/path", "s3://chat?region=",
        ]
        for url in wrong { #expect(throws: ApusError.self, "\(url)") { try S3Configuration(url: url, accessKey: "a", secretKey: "s") } }
        #expect(throws: ApusError.self) { try S3Configuration(url: "s3://chat", accessKey: "a", secretKey: "") }
    }
}
