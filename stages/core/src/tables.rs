//! Every table of the pipeline, in pipeline order.
//!
//! Within a crawl shard all tables list their documents in one order, that of `pages` (WARC file, then offset), and
//! each table's documents are a subsequence of its predecessor's: streams join by walking side by side. Where the
//! source is interleaved already there are no `pages`: `ingest` writes `outlines` and `candidates` itself, and the one
//! order is that of `document_id`.

use crate::table;

table! {
    /// Documents as ingested, by SURT range. Written by `ingest`, read by `locate`.
    pub struct Documents, DocumentsRow = "documents" v1 in Corpus by ["urlkey", "timestamp", "url", "document_id"] {
        /// Common Crawl's SURT key of the url.
        urlkey: Text,
        /// When the page was captured: 14 digits, UTC, as the index writes it.
        timestamp: Text,
        /// The page's url, as the source has it.
        url: Text,
        /// 32 hex digits; see [`document_id`](crate::id::document_id).
        document_id: Text,
        /// The source's own timestamp, unchanged.
        source_timestamp: Text,
        /// The document's sentences, in order; never empty.
        sentences: Texts,
    }
}

table! {
    /// Where each document's record lies. Written by `locate`, read by `fetch`; the published mapping.
    pub struct Captures, CapturesRow = "captures" v2 in Crawl by ["filename", "offset", "document_id"] {
        /// The WARC file, as a path below the crawl's root.
        filename: Text,
        /// The record's first byte in that file.
        offset: U64,
        /// 32 hex digits.
        document_id: Text,
        /// The record's stored bytes.
        length: U64,
        /// The index's payload digest (sha1, base32); null where the index has none.
        digest: MaybeText,
        /// The media type by a look at the bytes, as the index has it.
        mime_detected: MaybeText,
        /// How the capture was chosen: `exact`, or the name of the fall-back that gave it.
        matched_by: Text,
        /// The capture's own url; null where it is the document's.
        capture_url: MaybeText,
        /// The capture's own time, 14 digits; null where it is the document's.
        capture_timestamp: MaybeText,
        /// The document's url.
        url: Text,
        /// 14 digits.
        timestamp: Text,
        /// The source's own timestamp.
        source_timestamp: Text,
        /// The document's sentences.
        sentences: Texts,
    }
}

table! {
    /// The pages themselves. Written by `fetch`, read by `extract`.
    pub struct Pages, PagesRow = "pages" v1 in Crawl by ["document_id"] {
        /// 32 hex digits.
        document_id: Text,
        /// The document's url.
        url: Text,
        /// 14 digits.
        timestamp: Text,
        /// The source's own timestamp.
        source_timestamp: Text,
        /// The WARC file.
        filename: Text,
        /// The record's first byte.
        offset: U64,
        /// The record's stored bytes.
        length: U64,
        /// The Content-Type header; null where there is none.
        content_type: MaybeText,
        /// The media type by a look at the bytes, as the index has it.
        mime_detected: MaybeText,
        /// X-Robots-Tag headers, joined by `, `; null where there is none.
        robots_tag: MaybeText,
        /// Whether the crawler cut the payload short (WARC-Truncated).
        truncated: Bool,
        /// The body after transfer and content decoding.
        body: Bytes,
        /// The document's sentences.
        sentences: Texts,
    }
}

table! {
    /// Documents that name at least one candidate. Written by `extract`, or by `ingest` of an interleaved
    /// source; read wherever sentences are needed.
    pub struct Outlines, OutlinesRow = "outlines" v1 in Crawl by ["document_id"] {
        /// 32 hex digits.
        document_id: Text,
        /// The document's url.
        url: Text,
        /// 14 digits; empty where the source states no time.
        timestamp: Text,
        /// The source's own timestamp; empty where it has none.
        source_timestamp: Text,
        /// The WARC file; empty where the source names none.
        filename: Text,
        /// The record's first byte; 0 where there is no WARC file.
        offset: U64,
        /// The record's stored bytes; 0 where they are not known.
        length: U64,
        /// How many candidates the page names.
        candidates: U32,
        /// The document's sentences.
        sentences: Texts,
    }
}

table! {
    /// Image references that passed the URL rules, in DOM order. Written by `extract`, or by `ingest` of an
    /// interleaved source; read by `download`.
    pub struct Candidates, CandidatesRow = "candidates" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates, from 0, in DOM order.
        image_index: U32,
        /// The image's absolute URL.
        image_url: Text,
        /// Capture time of its page, 14 digits: which capture of the image an archive should give. Empty where the
        /// source states no time.
        page_timestamp: Text,
        /// Alternative text; null where the element has none.
        alt: MaybeText,
        /// The width attribute in pixels; null where there is none.
        width_hint_px: MaybeU32,
        /// The height attribute in pixels.
        height_hint_px: MaybeU32,
        /// The last sentence that stands before the image in the page; null where none was found.
        follows_sentence: MaybeU32,
        /// Page-level wishes (meta robots, X-Robots-Tag), as found; null where there is none.
        page_wishes: MaybeText,
    }
}

table! {
    /// Downloaded images, measured while their pixels were at hand. Written by `download`.
    pub struct Images, ImagesRow = "images" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
        /// The image's URL as the page names it.
        image_url: Text,
        /// The URL that the bytes came from, after redirects.
        final_url: Text,
        /// `archive` or `web`.
        origin: Text,
        /// When the bytes were fetched: 14 digits, UTC (the capture's time for an archive).
        fetched: Text,
        /// `jpeg`, `png`, ...: by a look at the bytes.
        format: Text,
        /// As transferred.
        source_bytes: U64,
        /// Blake3 of the bytes as transferred, 64 hex digits.
        blake3: Text,
        /// Sha256 of the bytes as transferred, 64 hex digits.
        sha256: Text,
        /// Before resizing.
        width_px: U32,
        /// Before resizing.
        height_px: U32,
        /// As stored in `pixels`.
        stored_width_px: U32,
        /// As stored in `pixels`.
        stored_height_px: U32,
        /// Perceptual hash of the original pixels, equal to imagehash.phash.
        phash: U64,
        /// Alternative text.
        alt: MaybeText,
        /// The last sentence before the image in the page.
        follows_sentence: MaybeU32,
    }
}

table! {
    /// What dedup needs of `images`.
    pub struct ImageHashes, ImageHashesRow = "images" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
        /// Perceptual hash.
        phash: U64,
    }
}

table! {
    /// Image bytes, bounded and re-encoded as the recipe says. Written by `download`.
    pub struct Pixels, PixelsRow = "pixels" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
        /// An encoded picture.
        bytes: Bytes,
    }
}

table! {
    /// Hamming distances of near copies within a document. Written by `dedup`.
    pub struct Distances, DistancesRow = "distances" v1 in Crawl by ["document_id", "image_index", "other_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// The earlier image of the pair.
        image_index: U32,
        /// The later image of the pair.
        other_index: U32,
        /// Bits in which the perceptual hashes differ, 0 to 16.
        distance_bits: U32,
    }
}

table! {
    /// How often each perceptual hash occurs in one crawl shard, on its way to being counted.
    pub struct HashCounts, HashCountsRow = "hash_counts" v1 in Key by ["phash", "crawl_shard"] {
        /// Perceptual hash.
        phash: U64,
        /// The crawl shard that counted.
        crawl_shard: U32,
        /// Images with this hash in that shard.
        images: U64,
    }
}

table! {
    /// How often a perceptual hash of this shard occurs in the whole corpus; only hashes that occur more than once.
    pub struct Frequencies, FrequenciesRow = "frequencies" v1 in Crawl by ["phash"] {
        /// Perceptual hash.
        phash: U64,
        /// Images with this hash in the corpus, at least 2.
        images: U64,
    }
}

table! {
    /// One row per measured image. Written by `measure`.
    pub struct Embeddings, EmbeddingsRow = "embeddings" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
        /// The image tower's output, of unit length.
        embedding: Halfs,
    }
}

table! {
    /// What one detector says about one image. Written by `measure`.
    pub struct Detections, DetectionsRow = "detections" v1 in Crawl by ["document_id", "image_index", "detector"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
        /// `nsfw`, `ad`, `face`.
        detector: Text,
        /// In [0, 1]; higher means more of what the detector detects.
        score: F32,
    }
}

table! {
    /// One row of a document's similarity matrix per measured image. Written by `measure`.
    pub struct Similarities, SimilaritiesRow = "similarities" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
        /// CLIP cosine with each sentence of the document, in [-1, 1].
        similarity: Floats,
    }
}

table! {
    /// Images that pass the recipe's thresholds. Written by `select`.
    pub struct Selections, SelectionsRow = "selections" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
    }
}

table! {
    /// The sentence of each image that stays. Written by `assign`.
    pub struct Assignments, AssignmentsRow = "assignments" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
        /// The sentence, from 0.
        sentence_index: U32,
        /// The similarity of the two, in [-1, 1].
        similarity: F32,
    }
}

table! {
    /// Documents that stay. Written by `assign`.
    pub struct DocumentSelections, DocumentSelectionsRow = "document_selections" v1 in Crawl by ["document_id"] {
        /// 32 hex digits.
        document_id: Text,
        /// Images assigned.
        images: U32,
    }
}

table! {
    /// Rows not kept, of any stage.
    pub struct Rejects, RejectsRow = "rejects" v1 in Crawl by ["document_id"] {
        /// The stage that rejected.
        stage: Text,
        /// What was counted: `documents`, `captures`, `pages`, `references`, `candidates` or `images`.
        unit: Text,
        /// The document; empty where a source line has none yet.
        document_id: Text,
        /// The image's URL, where the row is about one.
        image_url: MaybeText,
        /// [`Reason::name`](crate::reject::Reason::name).
        reason: Text,
        /// What was seen.
        evidence: Text,
    }
}
