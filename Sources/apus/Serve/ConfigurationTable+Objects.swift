extension ConfigurationKey {
    /// Where media are kept.
    static let objects: [ConfigurationKey] = [
        .text(
            "objects.store", \.objects.store, placeholder: "URL",
            permitted: "s3://BUCKET?endpoint=https://HOST:PORT&region=NAME&style=path (or host)&ca=FILE, or empty",
            "Where media are kept; empty: files in the data directory of a single node, none in a cluster."
        ) { $0.isEmpty || $0.hasPrefix("s3://") },
        .text(
            "objects.access-key", \.objects.accessKey, placeholder: "TEXT", permitted: "what the object store gave you", isSecret: true,
            "The name of this server at the object store."
        ) { _ in true },
        .text(
            "objects.secret-key", \.objects.secretKey, placeholder: "TEXT", permitted: "what the object store gave you", isSecret: true,
            "Its password there. Not for the command line, which other users can read."
        ) { _ in true },
    ]
}
