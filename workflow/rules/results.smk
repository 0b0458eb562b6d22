# Tables, figures and verdicts: plain names. Each card (.json) says all that it shows; one that shows something else is forced (see
# look_at_what_is_there).


rule tabulate:
    input:
        ancient(nodes_of("table")),
    output:
        csv="results/tables/{study}/{name}.csv",
        parquet="results/tables/{study}/{name}.parquet",
        md=report(
            "results/tables/{study}/{name}.md",
            caption="../report/table.rst",
            category="{study}",
            labels={"table": "{name}"},
        ),
        card="results/tables/{study}/{name}.json",
    log:
        "results/logs/tables/{study}/{name}.log",
    priority: priority_of("table")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    message:
        "tabulate {wildcards.study}/{wildcards.name}"
    shell:
        'exec python -P "$ROBUST_TRANSFER_SOURCE/robust_transfer/run/__main__.py" tabulate {wildcards.study}/{wildcards.name} --log {log}'


rule draw:
    input:
        ancient(nodes_of("figure")),
    output:
        png=report(
            "results/figures/{study}/{name}.png",
            caption="../report/figure.rst",
            category="{study}",
            labels={"figure": "{name}"},
        ),
        svg="results/figures/{study}/{name}.svg",
        card="results/figures/{study}/{name}.json",
    log:
        "results/logs/figures/{study}/{name}.log",
    priority: priority_of("figure")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    message:
        "draw {wildcards.study}/{wildcards.name}"
    shell:
        'exec python -P "$ROBUST_TRANSFER_SOURCE/robust_transfer/run/__main__.py" draw {wildcards.study}/{wildcards.name} --log {log}'


rule judge:
    # results/claims.csv has the verdicts on the claims of all studies, results/claims/STUDY.csv those of one.
    input:
        ancient(nodes_of("claim")),
    output:
        csv="results/{claims}.csv",
        parquet="results/{claims}.parquet",
        md=report(
            "results/{claims}.md",
            caption="../report/claims.rst",
            category="claims",
            labels={"claims": "{claims}"},
        ),
        card="results/{claims}.json",
    log:
        "results/logs/{claims}.log",
    priority: priority
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        what=lambda wildcards: product_of(wildcards, "claim").key,
    message:
        "judge {params.what}"
    shell:
        'exec python -P "$ROBUST_TRANSFER_SOURCE/robust_transfer/run/__main__.py" judge {params.what} --log {log}'


rule report_page:
    # One HTML file of everything that the plan has; `robust-transfer report` writes it of what is there so far.
    input:
        [f"results/{product.stem}.json" for product in PLAN.products.values()],
    output:
        report(
            "results/report.html",
            caption="../report/page.rst",
            category="report",
            labels={"report": "all"},
        ),
    log:
        "results/logs/report.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    message:
        "report"
    shell:
        'exec python -P "$ROBUST_TRANSFER_SOURCE/robust_transfer/run/__main__.py" report all --log {log}'


rule copy_of_main_study:
    # results/tables/table1.csv is the main study's table 1; likewise figures.
    input:
        f"results/{{kind}}s/{PLAN.origin['main_study']}/{{name}}.{{ending}}",
    output:
        "results/{kind}s/{name}.{ending}",
    log:
        "results/logs/{kind}s/{name}.{ending}.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    message:
        "copy {input} to {output}"
    shell:
        "cp {input} {output} 2> {log}"
