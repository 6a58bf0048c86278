package compatsdk;

import static compatsdk.Fields.expect;

import java.util.Arrays;
import java.util.List;

/** An evaluation that travels with a bundle, checked as compat_sdk/certificate.py does. */
final class Certificate {
    private static final List<String> FIELDS = Arrays.asList(
            "format", "version", "digest", "query_space", "gallery_space", "data", "data_sha256", "splits", "created_by",
            "queries", "skipped", "gallery_size", "query_query", "query_gallery", "gallery_gallery", "rule_holds");
    private static final String QUERY_RULE = "M(q,g) > M(q,q)";
    private static final String NEW_MODEL_RULE = "M(new,old) > M(old,old)";
    private static final long MOST = (1L << 53) - 1;

    final String querySpace;
    final String gallerySpace;
    private final String data;

    Certificate(Object value) {
        Fields of = Fields.of(value, "a certificate", FIELDS, "rule");
        of.oneOf("format", "compat-sdk-certificate");
        of.integer("version", 1, 1);
        expect(Digests.sealOf(of.values).equals(of.get("digest")), "digest", of.get("digest"), "that of the certificate");
        querySpace = Spaces.check(of.get("query_space"));
        gallerySpace = Spaces.check(of.get("gallery_space"));
        expect(!querySpace.equals(gallerySpace), "gallery_space", gallerySpace, "another space than the query's");
        data = of.text("data_sha256", Fields.SHA256, "a SHA-256");
        of.printable("data", 200);
        of.printable("created_by", 200);
        List<?> splits = of.list("splits");
        boolean named = splits.size() == 2 && splits.stream().allMatch(one -> Fields.isPrintable(one, 40));
        expect(named, "splits", splits, "the names of two");
        of.integer("queries", 1, MOST);
        of.integer("skipped", 0, MOST);
        of.integer("gallery_size", 1, MOST);
        String rule = of.has("rule") ? of.oneOf("rule", QUERY_RULE, NEW_MODEL_RULE) : QUERY_RULE;
        double own = top1(of.get("query_query"));
        double both = top1(of.get("query_gallery"));
        double gallery = top1(of.get("gallery_gallery"));
        boolean holds = both > (rule.equals(QUERY_RULE) ? own : gallery);
        Object said = of.get("rule_holds");
        expect(Boolean.valueOf(holds).equals(said), "rule_holds", said, holds + ", as the figures say");
    }

    private static double top1(Object value) {
        List<String> names = Arrays.asList("top1", "top5", "top10", "map");
        Fields of = Fields.of(value, "an accuracy", names);
        names.forEach(name -> of.number(name, 0, 1));
        return of.number("top1", 0, 1);
    }

    /** Which evaluation it is: a bundle has one of each. */
    String evaluation() {
        return gallerySpace + " " + data;
    }
}
