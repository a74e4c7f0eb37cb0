//! `foil eval run`: writes a text for every target by every strategy, with the code of the stages, and
//! scores it.
//!
//! Every answer of a model and every vector is kept by content in the output folder, so an interrupted
//! run that is started again goes on where it was, and gives the same report.

pub mod cache;
pub mod engine;
pub mod judge;
pub mod sample;
pub mod score;
pub mod variant;
pub mod world;
pub mod writer;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use foil_extractor::evidence::Values;
use foil_generator::history::Topic;
use foil_llm::prompt::PromptFile;
use futures::{StreamExt as _, stream};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Mutex;

pub use engine::Engine;
pub use sample::{Outcome, Sample};
pub use variant::{Settings, Variant};

use crate::data::{Prepared, Target};
use crate::progress::Progress;
use crate::selection::vectors::Vectors;
use cache::{Cache, Meter};
use score::{Lineup, Scores};
use world::World;
use writer::{Case, Writer};

/// Answers of the model, by content.
const ANSWERS: &str = "answers.jsonl";
const JUDGED: &str = "judged.jsonl";
const SAMPLES: &str = "samples.jsonl";

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub variants: Vec<Variant>,
    /// Most targets, drawn by the seed; none: all of them.
    pub limit: Option<usize>,
    pub seed: u64,
    /// Peers are only those who wrote before the target.
    pub peers_before: bool,
    /// Targets that are worked on at once.
    pub parallel: usize,
    /// How often the judge is asked for each text.
    pub judgements: usize,
    /// Where everything goes; made if missing.
    pub out: PathBuf,
}

/// What runs it.
pub struct Parts {
    pub model: Engine,
    pub judge: Option<Engine>,
    pub vectors: Vectors,
    pub settings: Settings,
}

/// What stays the same throughout a run.
struct Run<'a> {
    options: &'a Options,
    writer: Writer<'a>,
    world: &'a World<'a>,
    /// With what is set for each variant.
    variants: Vec<(&'a Variant, Settings)>,
    judge: Option<(PromptFile, Arc<Cache>)>,
    vectors: Mutex<Vectors>,
    deviations: Values,
}

/// Writes and scores everything, into `samples.jsonl` as it comes.
///
/// # Errors
/// When the model, the embedder or a file fails. What was asked until then is kept.
pub async fn run(prepared: &Prepared, options: &Options, parts: Parts) -> Result<Outcome> {
    let all: Vec<Target<'_>> = prepared.targets().collect();
    let targets = drawn(&all, options);
    ensure!(!targets.is_empty(), "data: holds no target");
    let folder = || options.out.display().to_string();
    std::fs::create_dir_all(&options.out).with_context(folder)?;
    let open = |name: &str, engine| Cache::open(&options.out.join(name), engine).map(Arc::new);
    let cache = open(ANSWERS, parts.model)?;
    let judge = match parts.judge {
        Some(engine) => Some((judge::file()?, open(JUDGED, engine)?)),
        None => None,
    };
    let mut world = World::new(&prepared.corpus)?;
    let mut vectors = parts.vectors;
    let embedder = vectors.model().to_owned();
    embed(&mut world, &mut vectors, &targets).await?;
    let variants = options.variants.iter();
    let variants = variants.map(|v| Ok((v, v.settings(&parts.settings)?)));
    let run = Run {
        options,
        writer: Writer::new(&world, &cache, options.seed)?,
        world: &world,
        variants: variants.collect::<Result<_>>()?,
        judge,
        vectors: Mutex::new(vectors),
        deviations: score::deviations(&prepared.corpus),
    };
    let samples = run.all(&targets).await?;
    if let Some(why) = all_refused(&samples) {
        bail!("the model refuses every question: {why}");
    }
    let judged = run.judge.as_ref().map(|(_, cache)| cache);
    Ok(Outcome {
        targets: targets.len(),
        model: cache_model(&cache),
        judge: judged.map(cache_model),
        embedder,
        hits: cache.hits() + judged.map_or(0, |cache| cache.hits()),
        calls: cache.calls() + judged.map_or(0, |cache| cache.calls()),
        samples,
    })
}

fn cache_model(cache: &Arc<Cache>) -> String {
    foil_llm::ask::model_name(&Meter::new(cache))
}

/// Why, where no text was written: nothing could be told from a report of that.
fn all_refused(samples: &[Sample]) -> Option<&str> {
    let mut reasons = samples.iter().map(|sample| sample.refusal.as_deref());
    let first = reasons.next()??;
    reasons.all(|reason| reason.is_some()).then_some(first)
}

/// The targets in the order of the draw: a higher limit adds to a lower one.
fn drawn<'t, 'a>(all: &'t [Target<'a>], options: &Options) -> Vec<&'t Target<'a>> {
    let mut targets: Vec<&Target<'_>> = all.iter().collect();
    targets.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
    targets.truncate(options.limit.unwrap_or(usize::MAX));
    targets
}

/// Embeds the texts on everything that the targets' users wrote about, and those that stand for the
/// users whom a text is attributed to.
async fn embed(
    world: &mut World<'_>,
    vectors: &mut Vectors,
    targets: &[&Target<'_>],
) -> Result<()> {
    let corpus = world.corpus;
    let mut needed: BTreeSet<usize> = BTreeSet::new();
    for target in targets {
        for record in &target.history {
            needed.extend(corpus.of_item(&record.item));
        }
        let lineup = score::lineup(corpus, target);
        needed.extend(lineup.into_iter().flat_map(|(_, texts)| texts));
    }
    let texts: Vec<&str> = needed
        .iter()
        .map(|&at| corpus.records()[at].text.as_str())
        .collect();
    let found = vectors.of(&texts).await?;
    for (at, vector) in needed.into_iter().zip(found) {
        world.set_vector(at, vector);
    }
    Ok(())
}

impl Run<'_> {
    async fn all(&self, targets: &[&Target<'_>]) -> Result<Vec<Sample>> {
        let path = self.options.out.join(SAMPLES);
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let mut file = BufWriter::new(file);
        let work = (targets.len() * self.variants.len()) as u64;
        let mut progress = Progress::new("texts", work);
        let mut samples = Vec::new();
        // In the order of the targets, however many are worked on at once.
        let mut done = stream::iter(targets)
            .map(|target| self.target(target))
            .buffered(self.options.parallel.max(1));
        while let Some(of_target) = done.next().await {
            for sample in of_target? {
                writeln!(file, "{}", serde_json::to_string(&sample)?)?;
                samples.push(sample);
                progress.advance(1);
            }
            file.flush()?;
        }
        Ok(samples)
    }

    async fn target(&self, target: &Target<'_>) -> Result<Vec<Sample>> {
        let record = target.record;
        let item = self.world.items.get(&record.item);
        let case = Case {
            target,
            topic: Topic {
                item: record.item.clone(),
                item_title: item.map_or(String::new(), |item| item.title.clone()),
                item_description: item.map_or(String::new(), |item| item.description.clone()),
                title: record.title.clone(),
            },
            history: self.world.history(&record.user, record),
            before_ms: self.options.peers_before.then_some(record.occurred_at_ms),
        };
        let lineup = Lineup::new(self.world, target, |at| self.world.vector(at));
        let own = self.attributed(lineup.as_ref(), &record.text).await?;
        let mut samples = Vec::new();
        for (variant, settings) in &self.variants {
            let written = self.writer.write(&case, variant, settings).await?;
            let mut scores = Scores::of(&written.output, &record.text);
            scores.attribution = self.attributed(lineup.as_ref(), &written.output).await?;
            if let Some((prompt, cache)) = &self.judge {
                let texts = (record.text.as_str(), written.output.as_str());
                let (meter, times) = (Meter::new(cache), self.options.judgements);
                scores.judge = Some(judge::judge(prompt, &meter, texts, times).await?);
            }
            samples.push(Sample {
                user: record.user.clone(),
                item: record.item.clone(),
                strategy: variant.name.clone(),
                used: written.used.to_owned(),
                degraded: written.degraded.to_owned(),
                history: case.history.len(),
                context: written.context,
                prompt: written.prompt,
                output: written.output,
                reference: record.text.clone(),
                ended: written.ended,
                refusal: written.refusal,
                tally: written.tally,
                scores,
                own,
                cost: written.cost,
            });
        }
        Ok(samples)
    }

    async fn attributed(
        &self,
        lineup: Option<&Lineup>,
        text: &str,
    ) -> Result<Option<score::Attribution>> {
        let Some(lineup) = lineup else {
            return Ok(None);
        };
        let mut vector = None;
        if !text.trim().is_empty() {
            vector = self.vectors.lock().await.of(&[text]).await?.pop();
        }
        Ok(lineup.attribute(text, vector.as_deref(), &self.deviations))
    }
}

/// How many of the texts each strategy wrote with less than was asked for, by why.
pub fn degraded(samples: &[Sample]) -> HashMap<(String, String), usize> {
    let mut counts = HashMap::new();
    for sample in samples.iter().filter(|sample| !sample.degraded.is_empty()) {
        let key = (sample.strategy.clone(), sample.degraded.clone());
        *counts.entry(key).or_default() += 1;
    }
    counts
}
